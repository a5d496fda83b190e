//! Pages for a browser: one file with its data, its style and its script, that asks for nothing else.

use super::super::output::note;
use std::io::ErrorKind;
use std::path::Path;
use whit::error::{Error, Kind, Result, printable};
use whit::os::Mapping;
use whit::os::atomic::AtomicFile;

/// How a page begins that whit has written, and no other.
const BEGINNING: &str = "<!doctype html>\n<!-- a view of whit -->";
/// What all pages have in common.
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Writes the page of a view to `path`: `script` draws the JSON values `data` (one a line of `--json`) below a `title`.
pub(crate) fn write(path: &Path, title: &str, script: &str, data: &[String]) -> Result<()> {
    let mut file = create(path, BEGINNING)?;
    file.write(page(title, script, data).as_bytes())?;
    file.commit()?;
    note(format_args!("whit: wrote {}", printable(&path.display().to_string())));
    Ok(())
}

/// A file at `path`; one that is there is replaced only if it begins as what is written does, with `beginning`.
pub(in crate::cli) fn create(path: &Path, beginning: &str) -> Result<AtomicFile> {
    // Refuses what is no regular file before anybody opens it.
    let file = AtomicFile::create(path, true)?;
    let is_free = matches!(path.symlink_metadata(), Err(error) if error.kind() == ErrorKind::NotFound);
    if !is_free && !Mapping::open(path).is_ok_and(|there| there.starts_with(beginning.as_bytes())) {
        let error = Error::new(Kind::Create, "there is a file that holds something else");
        return Err(error.in_file(path.display().to_string()).hint("name another, or remove it"));
    }
    Ok(file)
}

fn page(title: &str, script: &str, data: &[String]) -> String {
    // Within JSON `<` stands in texts alone, and there an escape is the same character: no text ends the script early.
    let data = data.join(",\n").replace('<', "\\u003c");
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "{BEGINNING}\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main></main>\n\
         <script type=\"application/json\" id=\"data\">[{data}]</script>\n\
         <script>\n{SCRIPT}\n{script}</script>\n</body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_the_data_or_the_title_early() {
        let page = page("a</title>&", "", &["{\"text\":\"</script><b>\"}".into()]);
        assert!(page.contains("[{\"text\":\"\\u003c/script>\\u003cb>\"}]</script>"), "{page}");
        assert!(page.contains("<title>a&lt;/title>&amp;</title>"), "{page}");
    }
}

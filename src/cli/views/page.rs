//! Pages for a browser: one file with its data, its style and its script, that asks for nothing else.

use super::super::output::note;
use std::path::Path;
use whit::error::Result;
use whit::os::atomic::AtomicFile;

/// What all pages have in common.
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Writes the page of a view to `path`: `script` draws the JSON values `data` (one a line of `--json`) below a `title`.
pub(crate) fn write(path: &Path, title: &str, script: &str, data: &[String]) -> Result<()> {
    let mut file = AtomicFile::create(path, true)?;
    file.write(page(title, script, data).as_bytes())?;
    file.commit()?;
    note(format_args!("whit: wrote {}", path.display()));
    Ok(())
}

fn page(title: &str, script: &str, data: &[String]) -> String {
    // Within JSON `<` stands in texts alone, and there an escape is the same character: no text ends the script early.
    let data = data.join(",\n").replace('<', "\\u003c");
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
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

//! A process that refuses templates all day stays as it is: nothing of a refused one is kept, and the user may stop one.

use whit::chat::{Speaker, Template, Turn};
use whit::error::Kind;
use whit::os::calendar::Moment;
use whit::os::interrupt;

fn template(source: &str) -> Template {
    Template::with_tokens(source, None, None, Moment::utc(0))
}

/// The number after `name` in what the system says of this process.
fn status(name: &str) -> Option<u64> {
    let told = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// One test: the memory, the threads and the interrupt are those of the process.
#[test]
fn a_refused_template_leaves_nothing_behind() {
    let turns = [Turn::new(Speaker::User, "hello")];
    let doubled = "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}";
    let nested = "{% set n = namespace(x=1) %}{% for i in range(99999) %}{% set n.x = [n.x] %}{% endfor %}";
    let within = "{% set n = namespace() %}{% set n.n = n %}";
    let list = "{% set x = [0] * 900000 %}{% for i in range(9) %}{% set x = x + x %}{% endfor %}";
    let macros = "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f('a' * 99999) }}";
    let refused = |source: &str| {
        let error = template(source).render(&turns).expect_err(source);
        assert_eq!(error.kind(), Kind::Data, "{error}");
    };
    let sources = [doubled, nested, within, list, macros];
    // The allocator keeps some of what was given back for what comes next.
    (0..20).flat_map(|_| sources).for_each(refused);
    let before = (status("VmRSS"), status("Threads"));
    (0..200).flat_map(|_| sources).for_each(refused);
    let after = (status("VmRSS"), status("Threads"));
    if let ((Some(memory), Some(threads)), (Some(memory_after), Some(threads_after))) = (before, after) {
        assert_eq!(threads, threads_after, "threads");
        assert!(memory_after < memory + 16 * 1024, "{memory} KiB became {memory_after} KiB");
    }

    interrupt::watch();
    assert!(interrupt::request());
    let error = template("{{ messages[0].content }}").render(&turns).expect_err("it is stopped");
    assert_eq!(error.kind(), Kind::Interrupted, "{error}");
    interrupt::handled();
    assert_eq!(template("{{ messages[0].content }}").render(&turns).expect("a text"), "hello");
    assert!(!interrupt::unwatch());
}

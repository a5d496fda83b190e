//! How the models of a family of templates write calls: a row a family, found by what stands in a template.

/// How the calls of a reply are written: `begin`, `open`, calls with `between` them, `close`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::chat) struct Family {
    pub(in crate::chat) name: &'static str,
    /// What stands in the templates of the family, all of it.
    known_by: &'static [&'static str],
    /// What a block of calls begins with, any of these.
    pub(super) begins: &'static [Begin],
    /// What stands before the first call.
    pub(super) open: &'static str,
    /// What stands between the calls of a block; a block is one call without.
    pub(super) between: Option<&'static str>,
    /// What stands behind the last call.
    pub(super) close: &'static str,
    /// What stands between blocks; there is one without.
    pub(super) between_blocks: Option<&'static str>,
    pub(super) form: Form,
    /// What stands before a reply in words, which is a string of JSON then, in an object of its own; such a reply stands free without.
    pub(super) says: Option<&'static str>,
}

/// What a block of calls begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begin {
    /// Its text, or the name of a control token.
    pub(super) mark: &'static str,
    /// It begins a call only where the reply begins, and is the beginning of the call itself.
    pub(super) is_call: bool,
}

/// How a call is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `{"name": "f", "arguments": {"a": 1}}`
    Json {
        /// What stands before the name of the function.
        name: &'static str,
        /// The name of what the function is given.
        given: &'static str,
    },
    /// `f(a=1, b="x")`
    Python,
    /// `call:f{a:1,b:<escape>x<escape>}`
    Braces {
        /// What stands around texts.
        quote: &'static str,
    },
    /// `<function=f>`, and in lines of their own `<parameter=a>`, the value, `</parameter>`; `</function>`.
    Tags,
    /// The name and what the function is given as JSON, with words around them.
    Named {
        /// Before the name.
        before: &'static str,
        /// Between the name and the JSON.
        between: &'static str,
        /// Behind the JSON.
        after: &'static str,
    },
}

const fn begin(mark: &'static str) -> Begin {
    Begin { mark, is_call: false }
}

/// The beginning of a call that stands for a whole reply.
const NAME: Begin = Begin { mark: "{\"name\":", is_call: true };
const JSON: Form = Form::Json { name: "name", given: "arguments" };
/// JSON in a list, which several families have in marks of their own.
const LIST: Family = Family {
    name: "",
    known_by: &[],
    begins: &[],
    open: "[",
    between: Some(", "),
    close: "]",
    between_blocks: None,
    form: JSON,
    says: None,
};
/// A call in marks of its own.
const BLOCKS: Family = Family { open: "", between: None, close: "", between_blocks: Some(""), ..LIST };

/// The families, those whose marks others have among theirs first.
const FAMILIES: [Family; 13] = [
    Family {
        name: "Mistral, names apart",
        known_by: &["[TOOL_CALLS]", "[ARGS]"],
        begins: &[begin("[TOOL_CALLS]")],
        form: Form::Named { before: "", between: "[ARGS]", after: "" },
        ..BLOCKS
    },
    Family { name: "Mistral", known_by: &["[TOOL_CALLS]"], begins: &[begin("[TOOL_CALLS]")], ..LIST },
    Family {
        name: "Gemma 4",
        known_by: &["<|tool_call>", "<tool_call|>"],
        begins: &[begin("<|tool_call>")],
        close: "<tool_call|>",
        form: Form::Braces { quote: "<|\"|>" },
        ..BLOCKS
    },
    Family {
        name: "FunctionGemma",
        known_by: &["<start_function_call>", "<escape>"],
        begins: &[begin("<start_function_call>")],
        close: "<end_function_call>",
        form: Form::Braces { quote: "<escape>" },
        ..BLOCKS
    },
    Family {
        name: "LFM",
        known_by: &["<|tool_call_start|>"],
        begins: &[begin("<|tool_call_start|>")],
        close: "]<|tool_call_end|>",
        form: Form::Python,
        ..LIST
    },
    Family {
        name: "LFM",
        known_by: &["<|tool_list_start|>"],
        begins: &[begin("<|tool_call_start|>")],
        close: "]<|tool_call_end|>",
        form: Form::Python,
        ..LIST
    },
    Family {
        name: "Qwen3 Coder",
        known_by: &["<tool_call>", "<function=", "<parameter="],
        begins: &[begin("<tool_call>")],
        open: "\n",
        close: "\n</tool_call>",
        between_blocks: Some("\n"),
        form: Form::Tags,
        ..BLOCKS
    },
    Family {
        name: "Hermes",
        known_by: &["<tool_call>", "</tool_call>"],
        begins: &[begin("<tool_call>")],
        open: "\n",
        close: "\n</tool_call>",
        between_blocks: Some("\n"),
        ..BLOCKS
    },
    Family {
        name: "Nemotron",
        known_by: &["<TOOLCALL>"],
        begins: &[begin("<TOOLCALL>")],
        close: "]</TOOLCALL>",
        ..LIST
    },
    Family {
        name: "Phi 4",
        known_by: &["<|tool_call|>", "<|/tool_call|>"],
        begins: &[begin("<|tool_call|>")],
        close: "]<|/tool_call|>",
        ..LIST
    },
    Family { name: "Granite", known_by: &["<|tool_call|>"], begins: &[begin("<|tool_call|>")], ..LIST },
    Family {
        name: "DeepSeek",
        known_by: &["<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>", "```json"],
        begins: &[begin("<｜tool▁calls▁begin｜>")],
        between: Some("\n"),
        close: "<｜tool▁calls▁end｜>",
        form: Form::Named {
            before: "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
            between: "\n```json\n",
            after: "\n```<｜tool▁call▁end｜>",
        },
        ..LIST_OF_NAMED
    },
    Family {
        name: "Llama 3",
        known_by: &["\"name\":", "\"parameters\":"],
        begins: &[NAME, begin("<|python_tag|>")],
        between_blocks: None,
        form: Form::Json { name: "name", given: "parameters" },
        ..BLOCKS
    },
];
const LIST_OF_NAMED: Family = Family { open: "", ..LIST };

/// The form of models whose template knows no functions, of which a system prompt tells them. A reply in words has a form, too: models
/// that were never taught to call choose between two beginnings, where they would not begin a call on their own.
const GENERIC: Family = Family {
    name: "generic JSON",
    begins: &[Begin { mark: "{\"call\":", is_call: true }],
    between_blocks: None,
    form: Form::Json { name: "call", given: "arguments" },
    says: Some("{\"reply\": "),
    ..BLOCKS
};

impl Family {
    /// The family of a template with this text; `None` where no row knows it.
    pub(in crate::chat) fn of(template: &str) -> Option<Family> {
        // Within the literals of templates quotes may be escaped.
        let plain = template.replace("\\\"", "\"");
        FAMILIES.iter().find(|family| family.known_by.iter().all(|mark| plain.contains(mark))).copied()
    }

    /// The form of models whose template knows no functions.
    pub(in crate::chat) fn generic() -> Family {
        GENERIC
    }

    /// The names of all families, in order.
    #[cfg(test)]
    pub(super) fn all() -> impl Iterator<Item = Family> {
        FAMILIES.into_iter().chain([GENERIC])
    }

    /// All words in which calls are written that may be names of control tokens.
    pub(super) fn words(&self) -> Vec<&'static str> {
        let mut words: Vec<&str> = self.begins.iter().map(|begin| begin.mark).collect();
        words.extend([self.open, self.between.unwrap_or(""), self.close, self.between_blocks.unwrap_or("")]);
        match self.form {
            Form::Braces { quote } => words.push(quote),
            Form::Named { before, between, after } => words.extend([before, between, after]),
            Form::Json { .. } | Form::Python | Form::Tags => {}
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_known_by_its_marks() {
        let name = |template| Family::of(template).map(|family| family.name);
        for (template, family) in [
            ("{{ '<tool_call>\\n{\"name\": ' }}</tool_call>", Some("Hermes")),
            ("<tool_call>\n<function=f>\n<parameter=a>\n</tool_call>", Some("Qwen3 Coder")),
            ("[TOOL_CALLS] [", Some("Mistral")),
            ("[TOOL_CALLS]f[ARGS]", Some("Mistral, names apart")),
            ("<|tool_call>call:f{}<tool_call|>", Some("Gemma 4")),
            ("<|tool_call|>[", Some("Granite")),
            ("<|tool_call|>[]<|/tool_call|>", Some("Phi 4")),
            ("{{ '{\"name\": ' }}{{ '\\\"parameters\\\": ' }}", Some("Llama 3")),
            ("{{ message.content }}", None),
        ] {
            assert_eq!(name(template), family, "{template}");
        }
    }
}

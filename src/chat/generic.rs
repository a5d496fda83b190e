//! Functions for models whose template knows none: a system prompt tells of them, and replies are objects of JSON.

use super::argument::Argument;
use super::turn::{Call, Speaker, Turn};

/// What the model is told of the functions `tools`, each as templates are given it. Small models choose by the names in the two objects and
/// by their order: of other words that were tried, most have SmolLM2-135M always call, or never (docs/tools.md).
#[cfg(feature = "rules")]
pub(super) fn system_text(tools: &[Argument], must_call: bool) -> String {
    let functions = tools.iter().map(|tool| tool.get("function").unwrap_or(tool).json());
    let call = r#"{"call": "the name of the function", "arguments": {"the name of a parameter": "its value"}}"#;
    let how = match must_call {
        true => format!("Call one of them: {call}."),
        false => format!(r#"If a function helps, call it: {call}. If none helps: {{"reply": "..."}}."#),
    };
    let functions = functions.collect::<Vec<_>>().join("\n");
    format!("You can call these functions:\n{functions}\n\nReply with nothing but a JSON object. {how}")
}

/// `turns` for a template that knows no functions: `system` stands behind the system prompt, replies are what the model would write,
/// and what functions gave is text.
pub(super) fn said(turns: &[Turn], system: &str, takes_system: bool) -> Vec<Turn> {
    let mut said: Vec<Turn> = turns.iter().map(as_text).collect();
    let role = if takes_system { Speaker::System } else { Speaker::User };
    match said.first_mut() {
        Some(first) if first.role == role => {
            let (before, after) = if takes_system { (&first.text[..], system) } else { (system, &first.text[..]) };
            first.text = format!("{before}\n\n{after}");
        }
        _ => said.insert(0, Turn::new(role, system)),
    }
    said
}

fn as_text(turn: &Turn) -> Turn {
    match (turn.role, &turn.answers) {
        (Speaker::Tool, answers) => {
            let name = answers.as_ref().map(|answers| answers.name.as_str()).filter(|name| !name.is_empty());
            Turn::new(Speaker::User, format!("{} gave:\n{}", name.unwrap_or("The function"), turn.text))
        }
        (Speaker::Assistant, _) => {
            let says = Some(turn.text.as_str()).filter(|text| !text.is_empty() || turn.calls.is_empty());
            let says = says.map(|text| format!("{{\"reply\": {}}}", Argument::Text(text.into()).json()));
            let all: Vec<String> = says.into_iter().chain(turn.calls.iter().map(written)).collect();
            Turn { text: all.join("\n"), calls: Vec::new(), ..turn.clone() }
        }
        _ => turn.clone(),
    }
}

/// A call as the model writes it.
fn written(call: &Call) -> String {
    format!("{{\"call\": {}, \"arguments\": {}}}", Argument::Text(call.name.clone()).json(), call.arguments.json())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Answers;

    #[test]
    fn calls_and_what_they_gave_are_text() {
        let given = Argument::Dict(vec![("city".into(), Argument::Text("Rome".into()))]);
        let mut reply = Turn::new(Speaker::Assistant, "");
        reply.calls.push(Call { id: "call_0".into(), name: "weather".into(), arguments: given });
        let mut result = Turn::new(Speaker::Tool, "sunny");
        result.answers = Some(Answers { id: "call_0".into(), name: "weather".into() });
        let says = Turn::new(Speaker::Assistant, "It is \"sunny\".");
        let turns = [Turn::new(Speaker::System, "Be kind."), Turn::new(Speaker::User, "Rome?"), reply, result, says];
        let texts = |turns: Vec<Turn>| turns.into_iter().map(|turn| (turn.role, turn.text)).collect::<Vec<_>>();
        let expected = [
            (Speaker::System, "Be kind.\n\nTOOLS".to_string()),
            (Speaker::User, "Rome?".into()),
            (Speaker::Assistant, "{\"call\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}".into()),
            (Speaker::User, "weather gave:\nsunny".into()),
            (Speaker::Assistant, "{\"reply\": \"It is \\\"sunny\\\".\"}".into()),
        ];
        assert_eq!(texts(said(&turns, "TOOLS", true)), expected);
        assert_eq!(texts(said(&turns[1..2], "TOOLS", false)), [(Speaker::User, "TOOLS\n\nRome?".to_string())]);
        assert_eq!(said(&turns[1..2], "TOOLS", true)[0].role, Speaker::System);
    }
}

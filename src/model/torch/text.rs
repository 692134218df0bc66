//! What matters of the many lines in which libtorch says that something went wrong.

/// A client need not read more than so many characters.
const LONGEST: usize = 600;

/// Why a run failed: the message, and the line of the program, without the ways that led there.
pub fn essence(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let Some(here) = lines.iter().rposition(|line| line.contains("<--- HERE")) else {
        return one_line(text);
    };
    let message = message(&lines[here + 1..]);
    if message.is_empty() {
        return one_line(text);
    }
    if let Some(raised) = message.strip_prefix("builtins.") {
        return raised.into();
    }
    let message = message.strip_prefix("RuntimeError: ").unwrap_or(&message);
    // Under the source, the place is marked by a line of its own.
    let source = here.checked_sub(1).map_or("", |line| lines[line].trim());
    format!("{message}, in `{}`", one_line(source))
}

/// What stands behind the last place that is marked, and behind what may follow it: the rest of the source around it, and
/// the calls that a traced program was made with. Without an exception's name before it, that is what is not indented.
fn message(lines: &[&str]) -> String {
    let begin = lines.iter().position(|line| names_exception(line));
    let begin =
        begin.or_else(|| lines.iter().position(|line| line.starts_with(|c: char| !c.is_whitespace())));
    begin.map_or_else(String::new, |begin| one_line(&lines[begin..].join("\n")))
}

/// Whether it begins as `RuntimeError: ` and `builtins.ValueError: ` do. A line of a traced program's calls,
/// `model.py(12): forward`, does not.
fn names_exception(line: &str) -> bool {
    let name = line.split_once(": ").map_or("", |(name, _)| name);
    let letter = |c: char| c.is_alphabetic() || c == '_';
    let begins = |part: &str| part.starts_with(letter);
    let is_part = |part: &str| begins(part) && part.chars().all(|c| letter(c) || c.is_numeric());
    name.split('.').all(is_part)
}

/// Why a file was not loaded.
pub fn load_reason(text: &str) -> String {
    let text = text.trim_start();
    if let Some((_, operator)) = text.split_once("Unknown builtin op: ") {
        let operator = operator.split_whitespace().next().unwrap_or_default().trim_end_matches('.');
        return format!(
            "the program uses the operator {}, which this libtorch does not have",
            one_line(operator)
        );
    }
    if text.contains("failed locating file constants.pkl") {
        return "it holds no TorchScript program (torch.jit.save writes those, torch.save does not)".into();
    }
    if let Some((_, reader)) = text.split_once("PytorchStreamReader failed ") {
        let reason = reader.split(". This is an internal").next().unwrap_or_default();
        return format!("it is damaged, or no TorchScript file: {}", one_line(reason));
    }
    // What comes indented, after a traceback's head or where the source is quoted, is the way that led there.
    let paragraph: Vec<&str> = text
        .lines()
        .take_while(|line| !line.starts_with(char::is_whitespace) && !line.starts_with("Serialized"))
        .collect();
    let reason = paragraph.join("\n").replace(", please report a bug to PyTorch.", "");
    let reason = reason.trim_end_matches([':', '\n', ' ']).trim_end_matches(" here");
    one_line(reason)
}

/// The text on one line, without what can't be shown and what would be too long.
fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: &str = r#"The following operation failed in the TorchScript interpreter.
Traceback of TorchScript, serialized code (most recent call last):
  File "code/__torch__.py", line 12, in forward
    else:
      pass
    return torch.mm(x, x)
           ~~~~~~~~ <--- HERE

Traceback of TorchScript, original code (most recent call last):
  File "model.py", line 90, in forward
        y = torch.mm(x, x)
            ~~~~~~~~ <--- HERE
        return y
"#;

    #[test]
    fn of_a_failed_run_the_message_and_its_line() {
        let text = format!("{FAILED}RuntimeError: mat1 and mat2 shapes\ncannot be multiplied\n");
        assert_eq!(essence(&text), "mat1 and mat2 shapes cannot be multiplied, in `y = torch.mm(x, x)`");
        let text = format!("{FAILED}builtins.ValueError: x must not be negative\n");
        assert_eq!(essence(&text), "ValueError: x must not be negative");
        assert_eq!(essence("CUDA out of memory.\n  Tried"), "CUDA out of memory. Tried");
        assert_eq!(essence("<--- HERE"), "<--- HERE");
        assert_eq!(essence(&"a".repeat(1000)).len(), LONGEST + 4);
    }

    #[test]
    fn calls_that_a_program_was_traced_with_are_no_message() {
        let text = r#"The following operation failed in the TorchScript interpreter.
Traceback of TorchScript, serialized code (most recent call last):
  File "code/__torch__.py", line 12, in forward
    y = torch._convolution(x, weight, bias)
        ~~~~~~~~~~~~~~~~~~ <--- HERE
class Other(Module):
  __parameters__ = []

Traceback of TorchScript, original code (most recent call last):
/usr/lib/torch/nn/modules/conv.py(548): _conv_forward
model.py(8): forward
<stdin>(3): <module>
RuntimeError: expected 3 channels: but got 4
file.py(1): no call, but a part of it
"#;
        let message = "expected 3 channels: but got 4 file.py(1): no call, but a part of it";
        assert_eq!(essence(text), format!("{message}, in `y = torch._convolution(x, weight, bias)`"));
    }

    #[test]
    fn of_a_failed_load_the_reason() {
        for (text, reason) in [
            (
                "\nUnknown builtin op: elsewhere::unknown.\nCould not find any similar ops.\n:\n  File \"x\"\n",
                "the program uses the operator elsewhere::unknown, which this libtorch does not have",
            ),
            (
                "PytorchStreamReader failed locating file constants.pkl: file not found. This is an internal miniz error.",
                "it holds no TorchScript program (torch.jit.save writes those, torch.save does not)",
            ),
            (
                "PytorchStreamReader failed reading zip archive: not a ZIP archive. This is an internal miniz error.",
                "it is damaged, or no TorchScript file: reading zip archive: not a ZIP archive",
            ),
            (
                "expected newline but found 'ident' here:\n  File \"x.py\", line 2\n    if x:\nSerialized   File\n",
                "expected newline but found 'ident'",
            ),
            ("it has no method `forward`", "it has no method `forward`"),
        ] {
            assert_eq!(load_reason(text), reason);
        }
    }
}

//! A command in one string, split into words the way people expect, without a shell.

/// Splits on white space. Single quotes keep everything, double quotes keep everything but `\"` and
/// `\\`, outside quotes a backslash keeps the next character. Nothing is expanded: `$`, `*`, `~`, `|`
/// and `;` are ordinary characters.
pub(crate) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' => quoted(&mut chars, c, word.get_or_insert_default())?,
            '"' => quoted(&mut chars, c, word.get_or_insert_default())?,
            '\\' => {
                let next = chars.next().ok_or("a backslash at the end keeps nothing")?;
                word.get_or_insert_default().push(next);
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn quoted(chars: &mut std::str::Chars<'_>, quote: char, word: &mut String) -> Result<(), String> {
    while let Some(c) = chars.next() {
        match c {
            c if c == quote => return Ok(()),
            '\\' if quote == '"' => match chars.next() {
                Some(kept @ ('"' | '\\')) => word.push(kept),
                Some(other) => word.extend(['\\', other]),
                None => break,
            },
            c => word.push(c),
        }
    }
    Err(format!("a {quote} is not closed"))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_are_split_and_nothing_is_expanded() {
        let check = |text: &str, expected: &[&str]| assert_eq!(split(text).unwrap(), expected, "{text}");
        check("", &[]);
        check("  a  b\tc\n", &["a", "b", "c"]);
        check(r#"python3 "my script.py" --x='a b' ''"#, &["python3", "my script.py", "--x=a b", ""]);
        check(r#"a\ b "c\"d\\e\f" '\'"#, &["a b", r#"c"d\e\f"#, r"\"]);
        check("echo $HOME * ~ ; rm | x", &["echo", "$HOME", "*", "~", ";", "rm", "|", "x"]);
        for broken in ["'a", "\"a", "\"a\\", "a\\"] {
            assert!(split(broken).is_err(), "{broken}");
        }
    }
}

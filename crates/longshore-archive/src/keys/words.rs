//! A command in one string, split into words without a shell.

/// Splits on white space; single or double quotes hold a word together. Nothing is expanded or
/// escaped: every other character stands for itself.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c.is_whitespace() => words.extend(word.take()),
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None => word.get_or_insert_default().push(c),
        }
    }
    if let Some(open) = quote {
        return Err(format!("a {open} is not closed"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_are_split_and_nothing_is_expanded() {
        let check = |text: &str, expected: &[&str]| assert_eq!(split(text).unwrap(), expected, "{text}");
        check("", &[]);
        check("  a  b\tc\n", &["a", "b", "c"]);
        check(r#"sh "my wrap.sh" --x='a "b"' '' a'b'"c""#, &["sh", "my wrap.sh", "--x=a \"b\"", "", "abc"]);
        check(r"echo $HOME * \ ; rm | x", &["echo", "$HOME", "*", "\\", ";", "rm", "|", "x"]);
        for broken in ["'a", "\"a'", "a'"] {
            assert!(split(broken).is_err(), "{broken}");
        }
    }
}

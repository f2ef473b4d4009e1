//! What crun says about a program that cannot run, in runc's words: the other runtimes use these, and people know them.

/// The sentence, or none if it is about something else. `program` is what was to run: some of crun's sentences do not name it.
pub(crate) fn in_the_words_of_runc(message: &str, program: &str) -> Option<String> {
    let why = match message {
        "open executable: Permission denied" => "permission denied".to_owned(),
        // Said of whatever is no regular file.
        "open executable: Operation not permitted" => "is a directory".to_owned(),
        "exec: Exec format error" => "exec format error".to_owned(),
        _ if !message.starts_with("executable file `") => return None,
        // crun looks no further than `$PATH` in its words, whatever the name.
        _ if program.contains('/') => format!("stat {program}: no such file or directory"),
        _ => "executable file not found in $PATH".to_owned(),
    };
    Some(format!("unable to start container process: exec: \"{program}\": {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_about_programs_are_put_as_runc_puts_them() {
        let check = |message: &str, program: &str, expected: Option<&str>| {
            let expected = expected.map(|end| format!("unable to start container process: exec: {end}"));
            assert_eq!(in_the_words_of_runc(message, program), expected, "{message}");
        };
        let not_found = |name: &str| format!("executable file `{name}` not found in $PATH: No such file or directory");
        check(&not_found("sh"), "sh", Some(r#""sh": executable file not found in $PATH"#));
        check(&not_found("/x"), "/x", Some(r#""/x": stat /x: no such file or directory"#));
        check("open executable: Permission denied", "/etc/plain", Some(r#""/etc/plain": permission denied"#));
        check("open executable: Operation not permitted", "/etc", Some(r#""/etc": is a directory"#));
        check("exec: Exec format error", "/x", Some(r#""/x": exec format error"#));
        check("cannot set memory limit", "sh", None);
    }
}

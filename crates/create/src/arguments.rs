//! The command line: parsing only. Options may stand before or after the command's operands, as `--name value` or `--name=value`.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::Error;

/// What was asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// Where state is kept, one folder per container.
    pub(crate) root: PathBuf,
    /// Where failures are written; standard error if none.
    pub(crate) log: Option<LogFile>,
    pub(crate) command: Command,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LogFile {
    pub(crate) path: PathBuf,
    pub(crate) format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Json,
    Text,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Create(Create),
    /// Create and start. Always detached.
    Run(Create),
    /// Always detached.
    Exec(Exec),
    Start {
        id: String,
    },
    Kill {
        id: String,
        signal: i32,
        all: bool,
    },
    Delete {
        id: String,
        force: bool,
    },
    State {
        id: String,
    },
}

/// A container to be made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Create {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    /// Where the terminal's master is sent to.
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
}

/// A further process of a container.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exec {
    pub(crate) id: String,
    /// The OCI process, as JSON.
    pub(crate) process: PathBuf,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
}

impl Arguments {
    pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Self, Error> {
        let mut words = Words::split(words)?;
        let root = words.path("--root").unwrap_or_else(|| PathBuf::from("/run/remora-create"));
        let format = match words.option("--log-format").as_deref() {
            None | Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(other) => return Err(Error::new(format!("unknown log format {other:?}"))),
        };
        let log = words.path("--log").map(|path| LogFile { path, format });
        let command = words.command()?;
        words.nothing_left()?;
        Ok(Self { root, log, command })
    }
}

/// Options that take a value. All others are flags.
const VALUED: [&str; 8] =
    ["--root", "--log", "--log-format", "--bundle", "--console-socket", "--pid-file", "--process", "--preserve-fds"];
const FLAGS: [&str; 4] = ["--detach", "--force", "--all", "--debug"];
const SHORT: [(&str, &str); 6] = [
    ("-b", "--bundle"),
    ("-p", "--process"),
    ("-d", "--detach"),
    ("-f", "--force"),
    ("-a", "--all"),
    ("-C", "--console-socket"),
];

/// The words of the command line, sorted into options and operands.
#[derive(Default)]
struct Words {
    options: Vec<(String, String)>,
    flags: Vec<String>,
    operands: VecDeque<String>,
}

impl Words {
    fn split(words: impl Iterator<Item = OsString>) -> Result<Self, Error> {
        let mut sorted = Self::default();
        let mut words =
            words.map(|word| word.into_string().map_err(|word| Error::new(format!("{word:?} is no UTF-8"))));
        while let Some(word) = words.next().transpose()? {
            if !word.starts_with('-') {
                sorted.operands.push_back(word);
                continue;
            }
            let (name, inline) = word.split_once('=').map_or((&*word, None), |(name, value)| (name, Some(value)));
            let name = SHORT.iter().find(|(short, _)| *short == name).map_or(name, |(_, long)| long);
            if VALUED.contains(&name) {
                let value = match inline {
                    Some(value) => value.to_owned(),
                    None => words.next().transpose()?.ok_or_else(|| Error::new(format!("{name} needs a value")))?,
                };
                sorted.options.push((name.to_owned(), value));
            } else if FLAGS.contains(&name) {
                sorted.flags.push(name.to_owned());
            } else {
                return Err(Error::new(format!("unknown option {name}")));
            }
        }
        Ok(sorted)
    }

    fn command(&mut self) -> Result<Command, Error> {
        let name = self.operands.pop_front().ok_or_else(|| {
            Error::new("usage: remora-create [--root DIR] [--log FILE] create|run|start|exec|kill|delete|state ID")
        })?;
        match name.as_str() {
            "create" => Ok(Command::Create(self.create()?)),
            "run" => {
                self.must_detach("run")?;
                Ok(Command::Run(self.create()?))
            }
            "exec" => Ok(Command::Exec(self.exec()?)),
            "start" => Ok(Command::Start { id: self.id()? }),
            "kill" => self.kill(),
            "delete" => Ok(Command::Delete { id: self.id()?, force: self.flag("--force") }),
            "state" => Ok(Command::State { id: self.id()? }),
            other => Err(Error::new(format!("unknown command {other:?}"))),
        }
    }

    fn create(&mut self) -> Result<Create, Error> {
        if self.option("--preserve-fds").is_some_and(|count| count != "0") {
            return Err(Error::new("--preserve-fds is not supported: containers are given no further descriptors"));
        }
        Ok(Create {
            id: self.id()?,
            bundle: self.path("--bundle").unwrap_or_else(|| PathBuf::from(".")),
            console_socket: self.path("--console-socket"),
            pid_file: self.path("--pid-file"),
        })
    }

    fn exec(&mut self) -> Result<Exec, Error> {
        self.must_detach("exec")?;
        Ok(Exec {
            id: self.id()?,
            process: self.path("--process").ok_or_else(|| Error::new("exec needs --process FILE"))?,
            console_socket: self.path("--console-socket"),
            pid_file: self.path("--pid-file"),
        })
    }

    fn must_detach(&self, command: &str) -> Result<(), Error> {
        if self.flag("--detach") {
            return Ok(());
        }
        Err(Error::new(format!("remora-create supervises nothing: {command} needs --detach")))
    }

    fn kill(&mut self) -> Result<Command, Error> {
        let id = self.id()?;
        let signal = self.operands.pop_front().unwrap_or_else(|| "TERM".to_owned());
        let number = signal_number(&signal).ok_or_else(|| Error::new(format!("unknown signal {signal:?}")))?;
        Ok(Command::Kill { id, signal: number, all: self.flag("--all") })
    }

    /// Container ids name folders: nothing else than these letters may come in, as in runc.
    fn id(&mut self) -> Result<String, Error> {
        let id = self.operands.pop_front().ok_or_else(|| Error::new("container id cannot be empty"))?;
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_+-.".contains(letter);
        if id.is_empty() || id == "." || id == ".." || !id.chars().all(allowed) {
            return Err(Error::new(format!("invalid container id {id:?}")));
        }
        Ok(id)
    }

    fn option(&mut self, name: &str) -> Option<String> {
        let at = self.options.iter().position(|(known, _)| known == name)?;
        Some(self.options.remove(at).1)
    }

    fn path(&mut self, name: &str) -> Option<PathBuf> {
        self.option(name).map(PathBuf::from)
    }

    fn flag(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag == name)
    }

    fn nothing_left(&self) -> Result<(), Error> {
        let unused = self.options.iter().map(|(name, _)| name).chain(&self.operands).next();
        unused.map_or(Ok(()), |word| Err(Error::new(format!("{word} has no meaning for this command"))))
    }
}

/// By number, or by name with or without `SIG`.
fn signal_number(text: &str) -> Option<i32> {
    const NAMES: [(&str, i32); 12] = [
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("QUIT", libc::SIGQUIT),
        ("ABRT", libc::SIGABRT),
        ("KILL", libc::SIGKILL),
        ("USR1", libc::SIGUSR1),
        ("USR2", libc::SIGUSR2),
        ("TERM", libc::SIGTERM),
        ("CONT", libc::SIGCONT),
        ("STOP", libc::SIGSTOP),
        ("WINCH", libc::SIGWINCH),
        ("PWR", libc::SIGPWR),
    ];
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let by_name = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    by_name.or_else(|| text.parse().ok().filter(|number| (0..=64).contains(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_lines_that_shims_write_are_understood() {
        let check = |line: &str, command: Command| {
            let arguments = parse(&format!("--root /r --log /l --log-format json {line}")).unwrap();
            let log = Some(LogFile { path: "/l".into(), format: LogFormat::Json });
            assert_eq!(arguments, Arguments { root: "/r".into(), log, command }, "{line}");
        };
        let create = |console: Option<&str>| Create {
            id: "c1".into(),
            bundle: "/b".into(),
            console_socket: console.map(PathBuf::from),
            pid_file: Some("/p".into()),
        };
        check("create --bundle /b --pid-file /p c1", Command::Create(create(None)));
        check("run --detach -b /b --pid-file=/p --console-socket /c c1", Command::Run(create(Some("/c"))));
        let exec = Exec { id: "c1".into(), process: "/x".into(), console_socket: None, pid_file: Some("/p".into()) };
        check("exec --detach --process /x --pid-file /p c1", Command::Exec(exec));
        check("start c1", Command::Start { id: "c1".into() });
        check("kill --all c1 SIGKILL", Command::Kill { id: "c1".into(), signal: 9, all: true });
        check("kill c1 15", Command::Kill { id: "c1".into(), signal: 15, all: false });
        check("delete --force c1", Command::Delete { id: "c1".into(), force: true });
        check("state c1", Command::State { id: "c1".into() });
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let check = |line: &str, expected: &str| assert_eq!(parse(line).unwrap_err(), expected, "{line}");
        check("run c1", "remora-create supervises nothing: run needs --detach");
        check("exec --process /x c1", "remora-create supervises nothing: exec needs --detach");
        check("exec --detach c1", "exec needs --process FILE");
        check("create ../c1", "invalid container id \"../c1\"");
        check("create ..", "invalid container id \"..\"");
        check("start", "container id cannot be empty");
        check("start c1 c2", "c2 has no meaning for this command");
        check("start --bundle /b c1", "--bundle has no meaning for this command");
        check("start --systemd-cgroup c1", "unknown option --systemd-cgroup");
        check("kill c1 NOSUCH", "unknown signal \"NOSUCH\"");
        check("--log", "--log needs a value");
        check("pause c1", "unknown command \"pause\"");
    }

    #[test]
    fn no_command_line_makes_it_panic_and_no_id_leaves_the_folder() {
        use std::os::unix::ffi::OsStringExt;
        let words = bolero::generator::produce::<Vec<Word>>();
        bolero::check!().with_generator(words).for_each(|words| {
            let words = words.iter().map(|word| match word {
                Word::Known(index) => OsString::from(KNOWN[usize::from(*index) % KNOWN.len()]),
                Word::Any(bytes) => OsString::from_vec(bytes.clone()),
            });
            let Ok(arguments) = Arguments::parse(words) else { return };
            let id = match &arguments.command {
                Command::Create(create) | Command::Run(create) => &create.id,
                Command::Exec(exec) => &exec.id,
                Command::Start { id }
                | Command::Kill { id, .. }
                | Command::Delete { id, .. }
                | Command::State { id } => id,
            };
            assert_eq!(arguments.root.join(id).parent(), Some(arguments.root.as_path()), "{id:?}");
        });
    }

    /// Words that get the fuzzer past the first look.
    const KNOWN: [&str; 14] = [
        "create",
        "run",
        "exec",
        "start",
        "kill",
        "delete",
        "state",
        "--detach",
        "--process",
        "--root",
        "--bundle=/b",
        "-f",
        "c1",
        "..",
    ];

    #[derive(Debug, bolero::TypeGenerator)]
    enum Word {
        Known(u8),
        Any(Vec<u8>),
    }
}

//! What one row of the matrix is: a command as a person types it, and what must come of it. Data alone; [`super::matrix`] plays it.

/// One command, and what must come of it.
pub(crate) struct Row {
    /// What it shows can be done.
    pub(crate) name: &'static str,
    pub(crate) does: Does,
    /// The exit status.
    pub(crate) code: i32,
    /// What its output, or its errors, must hold.
    pub(crate) shows: &'static [&'static str],
    /// Commands afterwards, and the whole of what each must print.
    pub(crate) leaves: &'static [(&'static str, &'static str)],
    /// The minor version of the first kubectl that has it.
    pub(crate) since: u32,
}

/// How a command is used. In all lines, quotes keep words together, and `{ns}`, `{dir}`, `{node}` stand for the client's namespace and
/// folder and for the node's name.
pub(crate) enum Does {
    /// It runs to its end without any input.
    Run(&'static str),
    /// It runs to its end with this input.
    Feed(&'static str, &'static str),
    /// On a terminal: what is waited for, and what is then typed.
    Talk(&'static str, &'static [(&'static str, &'static str)]),
    /// It goes on: once it has shown something, another command is run.
    Follow(&'static str, Follow),
    /// It says on which local port it listens; this path is asked for there, and `shows` is about the answer.
    Serve(&'static str, &'static str),
}

/// What is done while a command goes on.
pub(crate) struct Follow {
    pub(crate) first: &'static str,
    pub(crate) meanwhile: &'static str,
    /// Whether it then ends by itself. One that does not is killed when it has shown all.
    pub(crate) ends: bool,
}

const fn row(name: &'static str, does: Does) -> Row {
    Row { name, does, code: 0, shows: &[], leaves: &[], since: 0 }
}

pub(crate) const fn run(name: &'static str, line: &'static str) -> Row {
    row(name, Does::Run(line))
}

pub(crate) const fn feed(name: &'static str, line: &'static str, input: &'static str) -> Row {
    row(name, Does::Feed(line, input))
}

pub(crate) const fn talk(
    name: &'static str,
    line: &'static str,
    typed: &'static [(&'static str, &'static str)],
) -> Row {
    row(name, Does::Talk(line, typed))
}

pub(crate) const fn watch(name: &'static str, line: &'static str, first: &'static str, meanwhile: &'static str) -> Row {
    row(name, Does::Follow(line, Follow { first, meanwhile, ends: false }))
}

pub(crate) const fn until_end(
    name: &'static str,
    line: &'static str,
    first: &'static str,
    meanwhile: &'static str,
) -> Row {
    row(name, Does::Follow(line, Follow { first, meanwhile, ends: true }))
}

pub(crate) const fn serve(name: &'static str, line: &'static str, path: &'static str) -> Row {
    row(name, Does::Serve(line, path))
}

impl Row {
    pub(crate) const fn code(mut self, code: i32) -> Row {
        self.code = code;
        self
    }

    pub(crate) const fn shows(mut self, shows: &'static [&'static str]) -> Row {
        self.shows = shows;
        self
    }

    pub(crate) const fn leaves(mut self, leaves: &'static [(&'static str, &'static str)]) -> Row {
        self.leaves = leaves;
        self
    }

    pub(crate) const fn since(mut self, minor: u32) -> Row {
        self.since = minor;
        self
    }

    /// The command as it is typed.
    pub(crate) fn line(&self) -> &'static str {
        match self.does {
            Does::Run(line)
            | Does::Feed(line, _)
            | Does::Talk(line, _)
            | Does::Follow(line, _)
            | Does::Serve(line, _) => line,
        }
    }
}

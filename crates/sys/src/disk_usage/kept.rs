//! What was found out about folders, kept for a while: a look through one can take seconds, and whoever may ask may ask again and again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For how long an answer is good.
const KEPT: Duration = Duration::from_secs(60);

/// Answers about folders. Those that are no longer good are let go whenever one is added.
#[derive(Debug)]
pub struct KeptByFolder<T>(Mutex<HashMap<PathBuf, (Instant, T)>>);

impl<T> Default for KeptByFolder<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> KeptByFolder<T> {
    /// The answer of less than a minute ago, or what `look` finds now. Of two who look at once, the later answer stays.
    pub fn get_or(&self, folder: &Path, look: impl FnOnce(&Path) -> T) -> T {
        self.at(folder, Instant::now, look)
    }

    fn at(&self, folder: &Path, now: impl Fn() -> Instant, look: impl FnOnce(&Path) -> T) -> T {
        let is_good = |since: Instant| now().saturating_duration_since(since) < KEPT;
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(folder).cloned();
        if let Some((since, answer)) = kept
            && is_good(since)
        {
            return answer;
        }
        let found = look(folder);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, (since, _)| is_good(*since));
        kept.insert(folder.to_owned(), (now(), found.clone()));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_looked_at_once_a_minute_and_what_is_old_is_let_go() {
        let (kept, begun) = (KeptByFolder::default(), Instant::now());
        let at = |second, folder: &str, found: u32| {
            kept.at(Path::new(folder), || begun + Duration::from_secs(second), |_| found)
        };
        assert_eq!((at(0, "a", 1), at(59, "a", 2), at(59, "b", 3)), (1, 1, 3));
        assert_eq!((at(60, "a", 4), at(119, "a", 5)), (4, 4));
        assert_eq!(at(300, "c", 6), 6);
        assert_eq!(kept.0.lock().unwrap().len(), 1);
    }
}

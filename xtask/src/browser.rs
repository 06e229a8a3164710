//! Where Chromium is.

use std::{env, path::PathBuf};

use crate::shell;

/// The variable that names the browser binary when it is not found by itself.
pub const VARIABLE: &str = "CHROMIUM";

const NAMES: [&str; 6] =
    ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome", "microsoft-edge"];

const PLACES: [&str; 3] = [
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
];

/// A Chromium binary: the one named by [`VARIABLE`], or the first found on the path and in the usual places.
pub fn find() -> Option<PathBuf> {
    let named = env::var_os(VARIABLE).map(PathBuf::from);
    named
        .into_iter()
        .chain(NAMES.into_iter().filter_map(shell::find_program))
        .chain(PLACES.map(PathBuf::from))
        .find(|path| path.is_file())
}

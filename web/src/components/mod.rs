//! What the page is made of.
#![allow(unreachable_pub, reason = "the component macro writes `pub` items of its own")]

mod announcer;
mod answer;
mod app;
mod composer;
mod conversation;
mod files;
mod loading;
mod memory;
mod notices;
mod replay;
mod settings;
mod training;
mod welcome;

pub(crate) use app::App;

//! Your own events: a program in C on its way through `arenaq build` to the terminal.

mod own {
    pub(crate) mod build;
    pub(crate) mod dist;
    pub(crate) mod load;
    pub(crate) mod pinned;
    pub(crate) mod place;
    pub(crate) mod records;
}
mod support;

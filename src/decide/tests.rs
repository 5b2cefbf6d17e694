mod down;
mod edits;
mod hands;
mod incidents;
mod up;
mod world;

mod down;
mod edits;
mod hands;
mod incidents;
mod kinds;
mod undo;
mod up;
mod world;

mod down;
mod edits;
mod hands;
mod kinds;
mod undo;
mod up;
mod world;

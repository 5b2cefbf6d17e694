mod down;
mod edits;
mod hands;
mod up;
mod world;

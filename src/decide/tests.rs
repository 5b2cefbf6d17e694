mod down;
mod edits;
mod hands;
mod incident;
mod kinds;
mod undo;
mod up;
mod world;

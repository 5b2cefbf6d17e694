mod down;
mod edits;
mod hands;
mod incident;
mod up;
mod world;

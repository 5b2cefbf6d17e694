//! The commands in docs/cli are run, and answer as written there.

#[test]
fn the_commands_in_the_documents_answer_as_written() {
    trycmd::TestCases::new().env("NO_COLOR", "1").case("docs/cli/*.md");
}

#!/bin/sh
# Waits until a rollout has ended, posts what it showed as Markdown, and fails unless it ended well.
#
#   rollout.sh NAME NAMESPACE
#
# Exit code: that of `haldane status --until`. 0 promoted or passed, 3 rolled back or failed, 4 aborted by a person, 5 waiting for a person
# when the time ran out, 6 evidence neither way, 124 still under way, 7 not found.
#
# HALDANE   the program (default: haldane)
# UNTIL     what to wait for (default: done, any end)
# TIMEOUT   how long (default: 45m)
#
# The report goes to standard output, to the summary of a GitHub job (GITHUB_STEP_SUMMARY), and as a comment
#   to a pull request of GitHub, with GITHUB_TOKEN, GITHUB_REPOSITORY and PR_NUMBER;
#   to a merge request of GitLab, with GITLAB_TOKEN, CI_API_V4_URL, CI_PROJECT_ID and CI_MERGE_REQUEST_IID.
# A comment that cannot be posted is a warning: it changes no exit code.
set -u

if [ $# -ne 2 ]; then
  echo "usage: $0 NAME NAMESPACE" >&2
  exit 2
fi
name=$1
namespace=$2
haldane=${HALDANE:-haldane}
report=$(mktemp) || exit 1
trap 'rm -f "$report"' EXIT

# The screen of `status` goes to the log; the report has the same numbers.
"$haldane" status "$name" -n "$namespace" --until "${UNTIL:-done}" --timeout "${TIMEOUT:-45m}" >&2
code=$?

case $code in
  # An error, a wrong argument, no such Rollout: there is nothing to report.
  1 | 2 | 7) exit "$code" ;;
esac

if ! "$haldane" explain "$name" -n "$namespace" --format md >"$report"; then
  echo "warning: no report: haldane explain failed" >&2
  exit "$code"
fi

# The text of a file as a JSON string.
quoted() {
  printf '"'
  sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/	/\\t/g' -e 's/$/\\n/' "$1" | tr -d '\n'
  printf '"'
}

# Posts to a URL. The header with the token comes by standard input, so that it is in no list of processes.
post() {
  url=$1
  header=$2
  shift 2
  printf 'header = "%s"\n' "$header" |
    curl --config - --silent --show-error --fail --max-time 30 --retry 2 --output /dev/null "$@" "$url" ||
    echo "warning: the report was not posted to $url" >&2
}

cat "$report"
if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
  cat "$report" >>"$GITHUB_STEP_SUMMARY"
fi
if [ -n "${GITHUB_TOKEN:-}" ] && [ -n "${GITHUB_REPOSITORY:-}" ] && [ -n "${PR_NUMBER:-}" ]; then
  body=$(mktemp) || exit 1
  { printf '{"body":'; quoted "$report"; printf '}'; } >"$body"
  post "${GITHUB_API_URL:-https://api.github.com}/repos/$GITHUB_REPOSITORY/issues/$PR_NUMBER/comments" \
    "Authorization: Bearer $GITHUB_TOKEN" --header "Content-Type: application/json" --data-binary "@$body"
  rm -f "$body"
fi
if [ -n "${GITLAB_TOKEN:-}" ] && [ -n "${CI_API_V4_URL:-}" ] && [ -n "${CI_MERGE_REQUEST_IID:-}" ]; then
  post "$CI_API_V4_URL/projects/$CI_PROJECT_ID/merge_requests/$CI_MERGE_REQUEST_IID/notes" \
    "PRIVATE-TOKEN: $GITLAB_TOKEN" --data-urlencode "body@$report"
fi
exit "$code"

#!/usr/bin/env bash
# After a rollback git still asks for the version that was rolled back. This puts the revert of that commit on a branch.
#
# Reads the JSON of a webhook sink (format: json) from standard input, in a clone of the repository that holds the Rollout:
#
#   revert.sh [--push REMOTE] [FILE] < notice.json
#
# FILE is the manifest of the Rollout; left out, the one manifest in the repository that has its kind and name. The branch begins at HEAD,
# the checkout stays as it is. It prints the branch, and with --push pushes it: open the pull request from there.
# Ends with 0 also where there is nothing to do, and says why. Needs bash, git and jq.
set -euo pipefail

fail() { echo "revert.sh: $*" >&2; exit 1; }
nothing() { echo "nothing to do: $*"; exit 0; }

REMOTE='' FILE=''
while [ $# -gt 0 ]; do
  case $1 in
    --push) REMOTE=${2:?--push needs the name of a remote}; shift 2 ;;
    -*) fail "unknown option $1" ;;
    *) FILE=$1; shift ;;
  esac
done

notice=$(cat)
field() { jq -er "$1 // empty" <<<"$notice" 2>/dev/null || true; }
[ "$(field .kind)" = Decision ] || fail "standard input is not a notice of haldane: kind is not Decision"
outcome=$(field .record.outcome)
case $outcome in
  RolledBack | Aborted) ;;
  *) nothing "the decision is ${outcome:-unknown}, not a rollback" ;;
esac
namespace=$(field .namespace) rollout=$(field .rollout) version=$(field .record.canary.name)
epoch=$(field .record.epoch) message=$(field .record.message)
for name in "$namespace" "$rollout" "$version"; do
  [[ $name =~ ^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$ ]] || fail "\"$name\" is no name of a namespace, a Rollout or a version"
done
[[ $epoch =~ ^[0-9]+$ ]] || fail "the notice has no epoch"

# The version as YAML writes it: `subset: v2`, `{subset: "v2"}`. Dots are meant as dots.
wanted="(subset|service): *[\"']?${version//./[.]}([\"' ,}]|\$)"
if [ -z "$FILE" ]; then
  mapfile -t found < <(git grep -lE '^kind: Rollout$' HEAD -- '*.yaml' '*.yml' | sed 's/^HEAD://' | while read -r path; do
    if git show "HEAD:$path" | grep -qE "name: *[\"']?${rollout//./[.]}([\"' ,}]|\$)"; then echo "$path"; fi
  done)
  [ ${#found[@]} = 1 ] || fail "${#found[@]} manifests are of a Rollout $rollout: name one (${found[*]:-none})"
  FILE=${found[0]}
fi
git cat-file -e "HEAD:$FILE" 2>/dev/null || fail "there is no $FILE at HEAD"
git show "HEAD:$FILE" | grep -qE "$wanted" || nothing "$FILE does not ask for $version any more"

branch=haldane/revert-$namespace-$rollout-$epoch
if git rev-parse -q --verify "refs/heads/$branch" >/dev/null; then nothing "branch $branch is there already"; fi
commit=$(git log -1 --format=%H -G"$wanted" -- "$FILE")
[ "$(git rev-list --parents -n 1 "$commit" | wc -w)" = 2 ] || fail "$commit is a merge or the first commit: revert it by hand"

work=$(mktemp -d)
trap 'git worktree remove --force "$work/tree" 2>/dev/null || true; rm -rf "$work"' EXIT
git worktree add -q --detach "$work/tree" HEAD
cd "$work/tree"
git revert --no-commit "$commit" >/dev/null 2>&1 || fail "$commit cannot be reverted without a conflict: do it by hand"
if grep -qE "$wanted" "$FILE"; then fail "$FILE asks for $version also without $commit: change it by hand"; fi
git commit -q -F - <<TEXT
Revert to the version before $version: haldane rolled it back

$namespace/$rollout: $message

This reverts commit $commit.
TEXT
git branch "$branch"
if [ -n "$REMOTE" ]; then git push -q "$REMOTE" "$branch"; fi
echo "$branch reverts $(git log -1 --format='%h %s' "$commit")"

"use strict";
// The same scripted session as the Python clients': one method a feature, one JSON object printed.
// The words of it come from tests/clients/session.py: `node CLIENT_session.js URL MODEL WORDS
// [FEATURE…]`, which lives on until its input ends.

const assert = require("node:assert");

const [url, model, words, ...features] = process.argv.slice(2);
const script = JSON.parse(words);

/** Asserts `holds`; the message shows what was seen instead. */
function check(holds, seen) {
  assert(holds, `seen: ${JSON.stringify(seen)}`.slice(0, 300));
}

/** The error that `work` fails with. */
async function refusal(work) {
  try {
    await work();
  } catch (error) {
    return error;
  }
  throw new assert.AssertionError({ message: "no error" });
}

/** Tries each feature of a client, a method or the reason why it has none, and prints what came. */
async function run(client) {
  const found = {};
  for (const feature of features.length ? features : script.features) {
    if (typeof client[feature] === "string") {
      found[feature] = `– (${client[feature]})`;
      continue;
    }
    try {
      await client[feature]();
      found[feature] = "yes";
    } catch (error) {
      console.error(error);
      found[feature] = `no: ${error}`.slice(0, 300);
    }
  }
  console.log(JSON.stringify(found));
  process.stdin.resume();
}

module.exports = { url, model, script, check, refusal, run };

// What does a person at the page do with holds that are waiting?
//
//   node decide.mjs        a JSON object by line on stdin, one by one:
//     {"id": "hold-…", "deed": "approve"}
//     {"id": "hold-…", "deed": "deny", "reason": "…"}
//     {"id": "hold-…", "deed": "edit", "arguments": {…}}
//
// For tests that wait elsewhere for what comes of it: in real Chromium, signed
// in with REVIEWER_TOKEN at OPERATOR_URL (and BROWSER_SESSION, as for review.mjs).
// Says for each line `{"id": …, "state": …}`, or `{"id": …, "failed": …}`.

import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';

import { visit } from './harness.mjs';
import { OPERATOR, approve, becomes, dialog, reviewing, state } from './review.mjs';

/** Signs in as people do who have a token. */
async function signIn() {
  await visit({ origin: OPERATOR }, async (page, context) => {
    await page.goto(`${OPERATOR}/sign-in`);
    await page.locator('input[name=token]').fill(process.env.REVIEWER_TOKEN);
    await page.locator('form:has(input[name=token]) button').click();
    await page.waitForURL(`${OPERATOR}/`);
    await context.storageState({ path: process.env.BROWSER_SESSION });
  });
}

const deeds = {
  async approve(page) {
    await approve(page);
    await becomes(page, 'approved', 'executing', 'done');
  },
  async deny(page, { reason }) {
    await page.keyboard.press('d');
    const asked = dialog(page, /deny/i);
    await asked.getByRole('textbox').fill(reason);
    await asked.getByRole('button', { name: /^deny/i }).click();
    await becomes(page, 'denied');
  },
  async edit(page, given) {
    await page.keyboard.press('e');
    const asked = dialog(page, /edit/i);
    await asked.getByRole('textbox', { name: /arguments/i }).fill(JSON.stringify(given.arguments));
    await asked.getByRole('button', { name: /edit and approve/i }).click();
    await becomes(page, 'approved', 'executing', 'done');
  },
};

// A signed call passes several states at once. What is asked for the first is dropped for the
// next, and htmx says so on the console.
const expected = [/console: htmx:(afterRequest|sendAbort)/];

for await (const line of createInterface({ input: process.stdin })) {
  const given = JSON.parse(line);
  try {
    if (!existsSync(process.env.BROWSER_SESSION)) await signIn();
    await reviewing({ at: `/holds/${given.id}`, expected }, (page) => deeds[given.deed](page, given));
    console.log(JSON.stringify({ id: given.id, state: await state(given.id) }));
  } catch (error) {
    console.log(JSON.stringify({ id: given.id, failed: error.message }));
  }
}

// Waits for a condition, never for an amount of time.

// Only a failure takes this long. A suite that starts hundreds of programs at once sets a longer deadline.
const DEADLINE_MS = Number(process.env.DEADLINE_MS ?? 40_000);
const POLL_MS = 5;

/**
 * Resolves with the first truthy value that `condition` returns.
 *
 * After the deadline it throws; `describe` then tells how far things got.
 */
export async function until(what, condition, describe = () => 'nothing else is known') {
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) {
      throw new Error(`not within ${DEADLINE_MS} ms: ${what}; ${await describe()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

// Errors are checked for their class and for what they name, never for their wording.

import assert from 'node:assert/strict';

/** For `assert.throws` and `assert.rejects`: an error of this class whose message has each of these words. */
export function errorNaming(Class, ...words) {
  return (error) => {
    assert.ok(error instanceof Class, `${error?.stack}`);
    for (const word of words) assert.ok(error.message.includes(word), `no ${word} in: ${error.message}`);
    return true;
  };
}

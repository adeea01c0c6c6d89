'use strict';
// Makes text from outside safe to print on a terminal: characters that move its cursor, set its title or reverse other text
// become escapes.

// C0 and C1 controls, DEL, and invisible Unicode characters. Joiners stay, because scripts and emoji need them.
const HIDDEN =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** The text on one line. Inside a JSON string, an escape has the same value, so JSON keeps its meaning. */
function visible(text) {
  return String(text).replace(HIDDEN, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** The same for text of several lines. Line feeds stay. */
function visibleLines(text) {
  return String(text).split('\n').map(visible).join('\n');
}

exports.visible = visible;
exports.visibleLines = visibleLines;

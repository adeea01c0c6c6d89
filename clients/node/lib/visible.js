'use strict';
// Strangers' text as people can be shown it on a terminal: what moves its cursor, sets its title or turns other characters around
// stands there as an escape.

// Controls of C0 and C1, DEL, and characters of Unicode without a shape. Joiners stay: scripts and emoji need them.
const HIDDEN =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** The text on one line. Inside of a JSON string an escape is the same value, so JSON stays what it was. */
function visible(text) {
  return String(text).replace(HIDDEN, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** The same for text of several lines, whose line feeds are ours. */
function visibleLines(text) {
  return String(text).split('\n').map(visible).join('\n');
}

exports.visible = visible;
exports.visibleLines = visibleLines;

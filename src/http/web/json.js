// JSON as text. It is never parsed and written again: that would change numbers that JavaScript cannot hold.

// Beyond this an indented payload is no help any more, and deep nesting could make it many times as long.
const PRETTY_CHARACTERS = 2_000_000;

/** The same JSON, indented. Compact JSON in, as Pipecast sends it. */
function pretty(json) {
  const out = [];
  let depth = 0;
  let length = 0;
  const push = (text) => {
    out.push(text);
    length += text.length;
  };
  const line = () => push(`\n${"  ".repeat(depth)}`);
  for (const [token] of json.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|\{\}|\[\]|[{}[\],:]|[^"{}[\],:]+/g)) {
    if (token === "{" || token === "[") {
      push(token);
      depth += 1;
      line();
    } else if (token === "}" || token === "]") {
      depth -= 1;
      line();
      push(token);
    } else if (token === ",") {
      push(token);
      line();
    } else push(token === ":" ? ": " : token);
    if (length > PRETTY_CHARACTERS) return json;
  }
  return out.join("");
}

/**
 * The text with characters that cannot be seen, or that turn others around, as escapes. In JSON that is the same value; elsewhere it
 * keeps a name from looking like another. Joiners stay: scripts and emoji need them. Line feeds stay too; `visible.rs` does the same.
 */
function visible(text) {
  return text.replace(
    /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

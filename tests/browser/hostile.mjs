// Channels and payloads that could inject code into a page.

/** `[channel, payload]` pairs. Each sets `ran` if it runs. */
export const hostileEvents = [
  ['names', '<img src=x onerror="globalThis.ran = 1">'],
  ['<img src=x onerror="globalThis.ran = 2">', { html: '</script><script>globalThis.ran = 3</script>' }],
  ['</script><script>globalThis.ran = 4</script>', ['<svg onload="globalThis.ran = 5">', '"><iframe src="javascript:ran=6">']],
  ['\u202egpj.names', { text: 'left \u202eright\u2066 to \u2069left \u200f', closing: '</style></pre></li>' }],
  ['__proto__', { '__proto__x': 1, constructor: null, 'a"b\\': '\\"{[,:]}' }],
  ['message', 'javascript:alert(1)'],
  ['constructor', { large: 'lorem ipsum '.repeat(21_000) }],
];

/**
 * An EventSource with short-lived tokens. Returns a function that closes it.
 *
 * `fetchToken` resolves to a token, or to `null` if the user has signed out. `listeners` maps channels to functions.
 */
export function subscribe(url, fetchToken, listeners) {
  let source;
  let lastEventId = '';
  let delay = 1000;
  let isClosed = false;

  async function open() {
    const token = await fetchToken().catch(() => undefined);
    if (isClosed || token === null) return;
    if (token === undefined) return retry();
    const query = new URLSearchParams({ token, last_event_id: lastEventId });
    for (const channel of Object.keys(listeners)) {
      if (!channel.startsWith('pipecast.')) query.append('channel', channel);
    }
    source = new EventSource(`${url}?${query}`);
    source.addEventListener('open', () => (delay = 1000));
    source.addEventListener('error', () => {
      // Refused, which EventSource treats as final: most likely the token has expired.
      if (source.readyState === EventSource.CLOSED) retry();
    });
    for (const [channel, listener] of Object.entries({ 'pipecast.position': () => {}, ...listeners })) {
      source.addEventListener(channel, (event) => {
        lastEventId = event.lastEventId;
        listener(event);
      });
    }
  }

  function retry() {
    setTimeout(open, delay * (1 + Math.random()));
    delay = Math.min(delay * 2, 30_000);
  }

  open();
  return () => {
    isClosed = true;
    source?.close();
  };
}

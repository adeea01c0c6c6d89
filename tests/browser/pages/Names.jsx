import { useEffect, useState } from 'react';

export function Names({ url }) {
  const [names, setNames] = useState([]);
  const [hasMissed, setHasMissed] = useState(false);

  useEffect(() => {
    const source = new EventSource(url);
    source.addEventListener('names', (event) => {
      const entry = { id: event.lastEventId, ...JSON.parse(event.data) };
      setNames((names) => [...names.slice(-99), entry]);
    });
    source.addEventListener('pipecast.gap', () => setHasMissed(true));
    return () => source.close();
  }, [url]);

  return (
    <>
      {hasMissed && <p role="status">Some names are missing. Reload the page.</p>}
      <ul>{names.map(({ id, name }) => <li key={id}>{name}</li>)}</ul>
    </>
  );
}

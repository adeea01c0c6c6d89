// The React page: StrictMode mounts the component, unmounts it and mounts it again.

import { StrictMode, useState } from 'react';
import { createRoot } from 'react-dom/client';

import { Names } from './Names.jsx';

function App() {
  const [url, setUrl] = useState(globalThis.streamUrl);
  globalThis.show = setUrl;
  return url && <Names key={url} url={url} />;
}

// At the root: React mounts twice only where the whole page is in StrictMode.
createRoot(document.querySelector('main')).render(<StrictMode><App /></StrictMode>);

import { renderToString } from 'react-dom/server';

import { Names } from './Names.jsx';

export const render = (url) => renderToString(<Names url={url} />);

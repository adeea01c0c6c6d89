import { createSSRApp } from 'vue';
import { renderToString } from 'vue/server-renderer';

import Names from './Names.vue';

export const render = (url) => renderToString(createSSRApp(Names, { url }));

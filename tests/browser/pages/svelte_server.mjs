import { render as renderComponent } from 'svelte/server';

import Names from './Names.svelte';

export const render = (url) => renderComponent(Names, { props: { url } }).body;

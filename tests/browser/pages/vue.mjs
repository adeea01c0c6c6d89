// The Vue page.

import { createApp, h, ref } from 'vue';

import Names from './Names.vue';

const url = ref(globalThis.streamUrl);
globalThis.show = (other) => (url.value = other);
createApp(() => url.value && h(Names, { key: url.value, url: url.value })).mount('main');

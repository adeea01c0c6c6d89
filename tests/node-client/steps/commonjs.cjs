module.exports = defineComponent({
  run({ $ }) {
    $.send.sse({ channel: 'names', payload: 'commonjs' });
  },
});

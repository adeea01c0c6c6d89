export default defineComponent({
  async run({ steps, $ }) {
    const names = ["Luke", "Han", "Leia", "Obi Wan"];
    names.forEach(name => {
      $.send.sse({
        channel: "names",
        payload: {
          name
        }
      });
    });
  }
});

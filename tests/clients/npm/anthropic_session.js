"use strict";
// Anthropic's own client for JavaScript: messages.

const Anthropic = require("@anthropic-ai/sdk");
const { url, model, script, check, refusal, run } = require("./session.js");

const client = new Anthropic({ apiKey: "any", baseURL: url, maxRetries: 0 });
const user = (content) => ({ role: "user", content });
const asked = (messages, fields) => ({
  model, messages, max_tokens: 300, temperature: 0, top_k: 1, ...fields,
});
const text = ({ content }) => content.map((block) => block.text ?? "").join("");
const calls = ({ content }) => content.filter((block) => block.type === "tool_use");

run({
  async list() {
    const found = [];
    for await (const one of client.models.list()) found.push(one.id);
    check(found.some((name) => name.startsWith(model)), found);
  },

  async chat() {
    const message = await client.messages.create(asked([user(script.question)]));
    check(text(message).includes(script.answer), message);
    const fields = { model, messages: [user(script.question)] };
    const counted = await client.messages.countTokens(fields);
    const { input_tokens, cache_read_input_tokens } = message.usage;
    check(counted.input_tokens === input_tokens + cache_read_input_tokens, [counted, message]);
  },

  async stream() {
    let said = "";
    const stream = client.messages.stream(asked([user(script.question)]));
    stream.on("text", (piece) => (said += piece));
    const message = await stream.finalMessage();
    check(said.includes(script.answer) && said === text(message), [said, message]);
    check(message.usage.output_tokens > 0, message);
  },

  async tools() {
    const { name, description, parameters } = script.weather;
    const tools = [{ name, description, input_schema: parameters }];
    const question = user(script.tool_question);
    const fields = { tools, tool_choice: { type: "any" } };
    const first = await client.messages.create(asked([question], fields));
    const [call] = calls(first);
    check(call.input.city && first.stop_reason === "tool_use", first);
    const result = { type: "tool_result", tool_use_id: call.id, content: script.tool_result };
    const history = [question, { role: "assistant", content: first.content }, user([result])];
    const last = await client.messages.create(asked(history, { tools }));
    check(text(last), last);
    const [again] = calls(await client.messages.stream(asked([question], fields)).finalMessage());
    check(again.input.city === call.input.city, again);
  },

  async structured() {
    const fields = { output_config: { format: { type: "json_schema", schema: script.schema } } };
    const message = await client.messages.create(asked([user(script.structured_question)], fields));
    check(typeof JSON.parse(text(message)).city === "string", message);
  },

  embeddings: "the library has none",

  async errors() {
    for (const stream of [false, true]) {
      const fields = asked([user("x")], { stream, model: "absent" });
      const absent = await refusal(() => client.messages.create(fields));
      check(absent instanceof Anthropic.NotFoundError, absent);
      check(absent.error.error.type === "not_found_error", absent);
    }
  },

  async cancel() {
    const stream = await client.messages.create(asked([user(script.long_question)], { stream: true }));
    for await (const event of stream) {
      check(event.type, event);
      if (event.type === "content_block_delta") break;
    }
    check(stream.controller.signal.aborted, "a stream that goes on");
  },
});

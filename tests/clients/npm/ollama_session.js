"use strict";
// Ollama's own client for JavaScript.

const { Ollama } = require("ollama");
const { url, model, script, check, refusal, run } = require("./session.js");

const client = new Ollama({ host: url });
const user = (content) => ({ role: "user", content });
const options = { temperature: 0 };
const chat = (messages, fields) => client.chat({ model, messages, options, ...fields });

run({
  async list() {
    const { models } = await client.list();
    check(models.some(({ name }) => name.startsWith(model)), models);
    check((await client.show({ model })).capabilities.length, models);
  },

  async chat() {
    const said = (await chat([user(script.question)])).message.content;
    check(said.includes(script.answer), said);
    const { response } = await client.generate({ model, prompt: script.question, options });
    check(response.includes(script.answer), response);
  },

  async stream() {
    let said = "";
    let last;
    for await (last of await chat([user(script.question)], { stream: true })) {
      said += last.message.content;
    }
    check(said.includes(script.answer) && last.done && last.eval_count > 0, [said, last]);
  },

  async tools() {
    const tools = [{ type: "function", function: script.weather }];
    const question = user(script.tool_question);
    const first = (await chat([question], { tools })).message;
    const [call] = first.tool_calls;
    check(call.function.arguments.city, first);
    const result = { role: "tool", tool_name: call.function.name, content: script.tool_result };
    const last = (await chat([question, first, result], { tools })).message;
    check(last.content, last);
    let again;
    for await (const part of await chat([question], { tools, stream: true })) {
      again = part.message.tool_calls?.[0] ?? again;
    }
    check(again.function.arguments.city === call.function.arguments.city, again);
  },

  async structured() {
    const reply = await chat([user(script.structured_question)], { format: script.schema });
    check(typeof JSON.parse(reply.message.content).city === "string", reply);
  },

  async embeddings() {
    const { embeddings } = await client.embed({ model, input: ["a", "b"] });
    check(embeddings.length === 2 && embeddings[0].length > 1, embeddings);
  },

  async errors() {
    for (const stream of [false, true]) {
      const absent = await refusal(() => chat([user("x")], { stream, model: "absent" }));
      check(absent.status_code === 404 && absent.error.includes("not found"), absent);
    }
  },

  async cancel() {
    const stream = await chat([user(script.long_question)], { stream: true });
    const left = await refusal(async () => {
      for await (const part of stream) {
        check(part.message, part);
        stream.abort();
      }
    });
    check(left.name === "AbortError", left);
  },
});

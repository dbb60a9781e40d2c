"use strict";
// OpenAI's own client for JavaScript: chat completions, responses, embeddings.

const OpenAI = require("openai");
const { url, model, script, check, refusal, run } = require("./session.js");

const client = new OpenAI({ apiKey: "any", baseURL: `${url}/v1`, maxRetries: 0 });
const user = (content) => ({ role: "user", content });
const asked = (messages, fields) => ({ model, messages, temperature: 0, ...fields });
const chat = (messages, fields) => client.chat.completions.create(asked(messages, fields));

run({
  async list() {
    const found = [];
    for await (const one of client.models.list()) found.push(one.id);
    check(found.some((name) => name.startsWith(model)), found);
    check((await client.models.retrieve(model)).id === model, found);
  },

  async chat() {
    const said = (await chat([user(script.question)])).choices[0].message.content;
    check(said.includes(script.answer), said);
    const fields = { model, input: script.question, temperature: 0 };
    const response = await client.responses.create(fields);
    check(response.output_text.includes(script.answer), response);
  },

  async stream() {
    let said = "";
    const fields = { stream: true, stream_options: { include_usage: true } };
    let last;
    for await (last of await chat([user(script.question)], fields)) {
      said += last.choices[0]?.delta.content ?? "";
    }
    check(said.includes(script.answer) && last.usage.total_tokens > 0, [said, last]);
    const stream = client.responses.stream({ model, input: script.question, temperature: 0 });
    const response = await stream.finalResponse();
    check(response.output_text.includes(script.answer), response);
  },

  async tools() {
    const tools = [{ type: "function", function: script.weather }];
    const question = user(script.tool_question);
    const first = (await chat([question], { tools, tool_choice: "required" })).choices[0];
    const [call] = first.message.tool_calls;
    check(JSON.parse(call.function.arguments).city, first);
    check(first.finish_reason === "tool_calls", first);
    const result = { role: "tool", tool_call_id: call.id, content: script.tool_result };
    const last = (await chat([question, first.message, result], { tools })).choices[0];
    check(last.message.content, last);
    const streamed = client.chat.completions.stream(asked([question], { tools, tool_choice: "required" }));
    const [again] = (await streamed.finalChatCompletion()).choices[0].message.tool_calls;
    check(again.function.arguments === call.function.arguments, again);
  },

  async structured() {
    const json_schema = { name: "city", schema: script.schema, strict: true };
    const fields = { response_format: { type: "json_schema", json_schema } };
    const question = asked([user(script.structured_question)], fields);
    const reply = await client.chat.completions.parse(question);
    check(typeof reply.choices[0].message.parsed.city === "string", reply);
  },

  async embeddings() {
    const { data } = await client.embeddings.create({ model, input: ["a", "b"] });
    check(data.length === 2 && data[0].embedding.length > 1, data);
    const plain = await client.embeddings.create({ model, input: "b", encoding_format: "float" });
    check(Math.abs(plain.data[0].embedding[0] - data[1].embedding[0]) < 1e-4, plain);
  },

  async errors() {
    for (const stream of [false, true]) {
      const empty = await refusal(() => chat([], { stream }));
      check(empty instanceof OpenAI.BadRequestError && empty.param === "messages", empty);
      const absent = await refusal(() => chat([user("x")], { stream, model: "absent" }));
      check(absent instanceof OpenAI.NotFoundError, absent);
      check(absent.code === "model_not_found", absent);
    }
  },

  async cancel() {
    const stream = await chat([user(script.long_question)], { stream: true });
    for await (const chunk of stream) {
      check(chunk.choices, chunk);
      break;
    }
    check(stream.controller.signal.aborted, "a stream that goes on");
  },
});

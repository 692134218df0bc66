// Blurs the background of a picture, from Node.js: a file goes to an image-to-image model, and a JPEG comes back.
//
//     npm install --no-save --prefix samples/clients @grpc/grpc-js@1.14 @grpc/proto-loader@0.8
//     node samples/clients/blur.mjs portrait.jpg blurred.jpg [127.0.0.1:50051]
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const protos = fileURLToPath(new URL('../../protos', import.meta.url));

const [from, to, server = '127.0.0.1:50051'] = process.argv.slice(2);
if (!to) {
  console.error('usage: blur.mjs PICTURE RESULT [SERVER]');
  process.exit(2);
}

const definition = await protoLoader.load('grpc_service.proto', { includeDirs: [protos], keepCase: true });
const { inference } = grpc.loadPackageDefinition(definition);
const client = new inference.GRPCInferenceService(server, grpc.credentials.createInsecure(), {
  // 4 MiB by default, which a large picture is over.
  'grpc.max_receive_message_length': 64 * 1024 * 1024,
});
const infer = promisify(client.ModelInfer.bind(client));

try {
  const reply = await infer({
    model_name: 'background',
    inputs: [{
      name: 'image',
      datatype: 'BYTES',
      shape: [1],
      contents: { bytes_contents: [await readFile(from)] },
    }],
    outputs: [{ name: 'blurred', parameters: { codec: { string_param: 'jpeg' } } }],
  });
  await writeFile(to, reply.outputs[0].contents.bytes_contents[0]);
} catch (error) {
  console.error(error.details ?? error.message);
  process.exitCode = 1;
} finally {
  client.close();
}

// Hold resources for the Prometheus operator against its schemas: `node check.mjs FOLDER` with the resources as JSON on stdin.
// FOLDER is where package.json was installed. Prints the problems as JSON: values by the package's validators, and
// fields that nobody knows by its types.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const folder = path.resolve(process.argv[2]);
const ts = createRequire(path.join(folder, 'package.json'))('typescript');
const resources = JSON.parse(fs.readFileSync(0, 'utf8'));
const models = '@kubernetes-models/prometheus-operator';
const problems = [];

const source = [];
for (const [number, resource] of resources.entries()) {
  const group = resource.apiVersion;
  const module = path.join(folder, 'node_modules', models, group, 'index.js');
  const Model = (await import(pathToFileURL(module)))[resource.kind];
  try {
    new Model(resource).validate();
  } catch (error) {
    problems.push(`${resource.metadata.name}: ${error.message}`);
  }
  source.push(`import { I${resource.kind} as I${number} } from '${models}/${group}';`
    + ` export const r${number}: I${number} = ${JSON.stringify(resource)};`);
}

const file = path.join(folder, 'resources.ts');
const options = { noEmit: true, strict: true, skipLibCheck: true, types: [], module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler, target: ts.ScriptTarget.ES2022 };
const host = ts.createCompilerHost(options);
const read = host.getSourceFile.bind(host);
host.getSourceFile = (name, ...more) => (name === file
  ? ts.createSourceFile(name, source.join('\n'), options.target) : read(name, ...more));
host.fileExists = (exists => name => name === file || exists(name))(host.fileExists.bind(host));
for (const one of ts.getPreEmitDiagnostics(ts.createProgram([file], options, host))) {
  const line = one.file === undefined ? 0 : one.file.getLineAndCharacterOfPosition(one.start).line;
  problems.push(`${resources[line].metadata.name}: ${ts.flattenDiagnosticMessageText(one.messageText, ' ')}`);
}
console.log(JSON.stringify(problems));

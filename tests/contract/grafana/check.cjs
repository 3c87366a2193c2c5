// Hold dashboards against Grafana's own types and registries: `node check.cjs FOLDER DASHBOARD...`.
// FOLDER is where package.json was installed. Prints {counts, problems} as JSON.
const fs = require('node:fs');
const path = require('node:path');

const [given, ...files] = process.argv.slice(2);
const folder = path.resolve(given);
const load = (name) => require(require.resolve(name, { paths: [folder] }));
const problems = [];
const counts = { panels: 0, units: 0, reducers: 0, transformations: 0, colorModes: 0 };

// @grafana/data is made for a browser.
const { JSDOM } = load('jsdom');
const { window } = new JSDOM('', { url: 'http://localhost' });
const names = ['window', 'document', 'navigator', 'localStorage', 'Node', 'Element', 'HTMLElement', 'DOMParser', 'Event',
  'MutationObserver', 'getComputedStyle'];
for (const name of names) {
  Object.defineProperty(globalThis, name, { value: name === 'window' ? window : window[name], configurable: true });
}
globalThis.self = globalThis;
const say = console.log;
console.log = console.info = () => {}; // its libraries advertise
const data = load('@grafana/data');

const known = {
  units: new Set(data.getValueFormats().flatMap((category) => category.submenu.map((unit) => unit.value))),
  reducers: new Set(data.fieldReducers.list().map((one) => one.id)),
  transformations: new Set(Object.values(data.standardTransformers).map((one) => one.id)),
  colorModes: new Set(data.fieldColorModeRegistry.list().map((one) => one.id)),
};

function require_known(kind, name, where) {
  counts[kind] += 1;
  if (!known[kind].has(name)) {
    problems.push(`${where}: ${name} is none of Grafana's ${kind}`);
  }
}

// A field's color is of the registry; a panel's options may have colors of their own, which their types tell.
function walk(node, where, colors) {
  if (Array.isArray(node)) {
    node.forEach((one) => walk(one, where, colors));
  } else if (node && typeof node === 'object') {
    for (const [key, value] of Object.entries(node)) {
      if (key === 'unit' && typeof value === 'string' && value) require_known('units', value, where);
      if (key === 'calcs' || key === 'reducers') value.forEach((name) => require_known('reducers', name, where));
      if (colors && key === 'color' && value && value.mode) require_known('colorModes', value.mode, where);
      walk(value, where, colors);
    }
    if (node.id === 'unit' && 'value' in node) require_known('units', node.value, where);
    if (node.id === 'color' && node.value) require_known('colorModes', node.value.mode, where);
  }
}

// The types of a panel's options and field config; enums are given by their values, and defaults may be left out.
const schema = path.join(folder, 'node_modules/@grafana/schema/dist/esm/raw/composable');
const source = [
  'type Loose<T> = T extends string ? `${T}` : T extends number | boolean | null | undefined ? T',
  '  : T extends (infer U)[] ? Loose<U>[] : T extends object ? { [K in keyof T]?: Loose<T[K]> } : T;',
];
const lines = []; // which panel a line is of

function add(text, where) {
  source.push(text);
  lines[source.length - 1] = where;
}

function check_types(panel, where) {
  const types = path.join(schema, panel.type, 'panelcfg/x');
  const file = fs.existsSync(types) && fs.readdirSync(types).find((name) => name.endsWith('_types.gen.d.ts'));
  if (!file) {
    problems.push(`${where}: ${panel.type} is none of Grafana's panels`);
    return;
  }
  const text = fs.readFileSync(path.join(types, file), 'utf8');
  const module = JSON.stringify(path.join(types, file.replace('.d.ts', '')));
  const custom = panel.fieldConfig.defaults.custom;
  const parts = [['Options', panel.options], ['FieldConfig', custom]];
  for (const [name, value] of parts) {
    if (value === undefined) continue;
    if (!new RegExp(`(interface|type) ${name}\\b|\\b${name}[,; }]`).test(text)) {
      if (Object.keys(value).length) problems.push(`${where}: ${panel.type} has no ${name}`);
      continue;
    }
    add(`export const v${source.length} = ${JSON.stringify(value)} satisfies Loose<import(${module}).${name}>;`, where);
  }
}

for (const file of files) {
  const board = JSON.parse(fs.readFileSync(file, 'utf8'));
  for (const panel of board.panels.filter((one) => one.type !== 'row')) {
    const where = `${board.uid}: ${panel.title}`;
    counts.panels += 1;
    walk(panel.options, where, false);
    walk(panel.fieldConfig, where, true);
    for (const step of panel.transformations || []) require_known('transformations', step.id, where);
    check_types(panel, where);
  }
}

const ts = load('typescript');
const main = path.join(folder, 'dashboards.ts');
const options = {
  noEmit: true, strict: true, skipLibCheck: true, target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ES2022,
  moduleResolution: ts.ModuleResolutionKind.Bundler, types: [],
};
const host = ts.createCompilerHost(options);
const read = host.getSourceFile;
host.getSourceFile = (name, ...rest) =>
  name === main ? ts.createSourceFile(name, source.join('\n'), options.target) : read(name, ...rest);
for (const found of ts.getPreEmitDiagnostics(ts.createProgram([main], options, host))) {
  const at = found.file && found.file.fileName === main ? lines[found.file.getLineAndCharacterOfPosition(found.start).line] : '';
  problems.push(`${at || 'types'}: ${ts.flattenDiagnosticMessageText(found.messageText, ' ')}`);
}
say(JSON.stringify({ counts, problems }));

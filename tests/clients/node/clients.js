// Does with @kubernetes/client-node what programs around Kubernetes do, in a namespace of its own: one step after another, each told as
// "ok NAME" or "FAILED NAME: why". tests/tests/root_clients plays it against a node.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PassThrough } from 'node:stream';
import * as k8s from '@kubernetes/client-node';

const namespace = process.argv[2];
// How long a step may take, in milliseconds.
const PATIENCE = 60_000;

const config = new k8s.KubeConfig();
config.loadFromDefault();
const api = config.makeApiClient(k8s.CoreV1Api);
const maps = `/api/v1/namespaces/${namespace}/configmaps`;
const paged = { namespace, labelSelector: 'paged=yes' };

const configMap = (name) => ({ metadata: { name, labels: { paged: 'yes' } }, data: { a: 'one', b: 'same' } });
const create = (name) => api.createNamespacedConfigMap({ namespace, body: configMap(name) });
const refused = (code) => (error) => error.code === code;

// What a stream says, up to a text.
async function until(stream, text) {
  let said = '';
  for await (const chunk of stream) {
    said += chunk;
    if (said.includes(text)) return said;
  }
  assert.fail(`it ended without ${text}: ${said}`);
}

// Runs a script in the box; what it says, and how it ended.
async function execute(script, { stdin = null, tty = false, stdout = new PassThrough() } = {}) {
  const stderr = tty ? null : new PassThrough();
  const ended = resolvers();
  await new k8s.Exec(config).exec(namespace, 'box', 'box', ['sh', '-c', script], stdout, stderr, stdin, tty, ended.resolve);
  return { stdout, stderr, status: ended.promise };
}

function resolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}

const steps = {
  async 'create, list in pages'() {
    for (let i = 0; i < 5; i++) await create(`page-${i}`);
    const sizes = [];
    let _continue;
    do {
      const page = await api.listNamespacedConfigMap({ ...paged, limit: 2, _continue });
      sizes.push(page.items.length);
      _continue = page.metadata._continue;
    } while (_continue);
    assert.deepEqual(sizes, [2, 2, 1]);
  },

  async 'watch from a version, with bookmarks'() {
    const { metadata } = await api.listNamespacedConfigMap(paged);
    const types = [];
    const ended = resolvers();
    const query = { resourceVersion: metadata.resourceVersion, allowWatchBookmarks: true, timeoutSeconds: 4, labelSelector: 'paged=yes' };
    await new k8s.Watch(config).watch(maps, query, (type) => types.push(type), ended.resolve);
    const made = await create('watched');
    await api.replaceNamespacedConfigMap({ namespace, name: 'watched', body: { ...made, data: { a: 'two' } } });
    await api.deleteNamespacedConfigMap({ namespace, name: 'watched' });
    await ended.promise;
    assert.deepEqual(types, ['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK']);
  },

  async patches() {
    for (const [kind, body, expected] of [
      ['JsonPatch', [{ op: 'replace', path: '/data/a', value: 'json' }], 'json'],
      ['MergePatch', { data: { a: 'merge' } }, 'merge'],
      ['StrategicMergePatch', { data: { a: 'strategic' } }, 'strategic'],
      ['ServerSideApply', { apiVersion: 'v1', kind: 'ConfigMap', data: { a: 'apply' } }, 'apply'],
    ]) {
      const options = kind === 'ServerSideApply' ? { fieldManager: 'clients', force: true } : {};
      const type = k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy[kind]);
      const patched = await api.patchNamespacedConfigMap({ namespace, name: 'page-0', body, ...options }, type);
      assert.deepEqual(patched.data, { a: expected, b: 'same' }, kind);
    }
  },

  async 'update of an old version'() {
    const old = await api.readNamespacedConfigMap({ namespace, name: 'page-0' });
    const update = () => api.replaceNamespacedConfigMap({ namespace, name: 'page-0', body: { ...old, data: { a: 'x' } } });
    await update();
    await assert.rejects(update, refused(409));
  },

  async 'delete with preconditions'() {
    const { metadata } = await api.readNamespacedConfigMap({ namespace, name: 'page-0' });
    const remove = (uid) => api.deleteNamespacedConfigMap({ namespace, name: 'page-0', body: { preconditions: { uid } } });
    await assert.rejects(() => remove('another'), refused(409));
    await remove(metadata.uid);
    await assert.rejects(() => api.readNamespacedConfigMap({ namespace, name: 'page-0' }), refused(404));
  },

  async 'client of any object'() {
    const objects = k8s.KubernetesObjectApi.makeApiClient(config);
    const wish = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'any', namespace }, data: { a: 'b' } };
    await objects.patch(wish, undefined, undefined, 'clients', true, k8s.PatchStrategy.ServerSideApply);
    const found = await objects.read({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'any', namespace } });
    assert.equal(found.data.a, 'b');
  },

  async informer() {
    const informer = k8s.makeInformer(config, maps, () => api.listNamespacedConfigMap({ namespace }));
    const told = [];
    const isTold = resolvers();
    informer.on('add', (object) => told.push(`+${object.metadata.name}`));
    informer.on('delete', (object) => {
      told.push(`-${object.metadata.name}`);
      isTold.resolve();
    });
    await informer.start();
    await create('informed');
    await api.deleteNamespacedConfigMap({ namespace, name: 'informed' });
    await isTold.promise;
    await informer.stop();
    assert.deepEqual(told.slice(-2), ['+informed', '-informed']);
  },

  async 'delete a collection'() {
    await api.deleteCollectionNamespacedConfigMap(paged);
    assert.deepEqual((await api.listNamespacedConfigMap(paged)).items, []);
  },

  async 'run pods'() {
    const talks = 'echo line 1; until test -e /go; do sleep 0.1; done; echo line 2; sleep 10000';
    for (const container of [
      { name: 'box', image: 'busybox', command: ['sh', '-c', talks] },
      { name: 'shell', image: 'busybox', command: ['sh'], stdin: true, tty: true },
      { name: 'web', image: 'registry.example/httpd:1' },
    ]) {
      const ready = resolvers();
      const query = { fieldSelector: `metadata.name=${container.name}` };
      const isReady = (_, pod) => pod.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') && ready.resolve();
      const watching = await new k8s.Watch(config).watch(`/api/v1/namespaces/${namespace}/pods`, query, isReady, () => {});
      await api.createNamespacedPod({ namespace, body: { metadata: { name: container.name }, spec: { containers: [container] } } });
      await ready.promise;
      watching.abort();
    }
  },

  async 'exec with input'() {
    const stdin = new PassThrough();
    // Its protocol cannot say that the input has ended.
    const { stdout, stderr, status } = await execute('read line; echo $line | tr a-z A-Z; echo err >&2; exit 7', { stdin });
    stdin.write('shout\n');
    await until(stdout, 'SHOUT\n');
    await until(stderr, 'err\n');
    const { causes } = (await status).details;
    assert.equal(causes.find((cause) => cause.reason === 'ExitCode').message, '7');
  },

  async 'exec on a terminal that is resized'() {
    const stdout = Object.assign(new PassThrough(), { columns: 101, rows: 33 });
    const script = "until stty size | grep -q '^33 101$'; do sleep 0.1; done; echo be''fore; until stty size | grep -q '^44 122$'; do sleep 0.1; done; tty";
    await execute(script, { stdin: new PassThrough(), tty: true, stdout });
    const lines = stdout[Symbol.asyncIterator]();
    let said = '';
    while (!said.includes('before')) said += (await lines.next()).value;
    Object.assign(stdout, { columns: 122, rows: 44 }).emit('resize');
    while (!said.includes('/dev/pts/')) said += (await lines.next()).value;
  },

  async attach() {
    const [stdin, stdout] = [new PassThrough(), new PassThrough()];
    const socket = await new k8s.Attach(config).attach(namespace, 'shell', 'shell', stdout, null, stdin, true);
    stdin.write('echo at-$((1+1))\n');
    await until(stdout, 'at-2');
    socket.close();
  },

  async 'logs, followed'() {
    const stream = new PassThrough();
    const following = await new k8s.Log(config).log(namespace, 'box', 'box', stream, { follow: true });
    const lines = createInterface(stream);
    const [first] = await once(lines, 'line');
    const second = once(lines, 'line');
    await execute('touch /go');
    assert.deepEqual([first, (await second)[0]], ['line 1', 'line 2']);
    following.abort();
  },

  async 'port-forward'() {
    const [input, output] = [new PassThrough(), new PassThrough()];
    await new k8s.PortForward(config).portForward(namespace, 'web', [8080], output, null, input);
    input.write('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
    await until(output, 'hello from user 65532');
  },

  async 'cp there'() {
    const folder = await mkdtemp(join(tmpdir(), 'remora-clients-'));
    await writeFile(join(folder, 'here'), 'from here\n');
    await new k8s.Cp(config).cpToPod(namespace, 'box', 'box', folder, '/tmp');
    const { stdout } = await execute("until grep -s 'from here' /tmp/here; do sleep 0.1; done");
    await until(stdout, 'from here\n');
  },
};

let failed = 0;
for (const [name, does] of Object.entries(steps)) {
  const late = new Promise((_, reject) => setTimeout(reject, PATIENCE, new Error('it takes too long')).unref());
  try {
    await Promise.race([does(), late]);
    console.log('ok', name);
  } catch (error) {
    failed++;
    console.log(`FAILED ${name}:`, error);
  }
}
// What is still open is of no interest.
process.exit(failed ? 1 : 0);

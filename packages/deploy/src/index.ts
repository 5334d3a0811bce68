// The package's public surface: the chart and the image for the repository's scripts and tests.
export { bundleCommand, type Bundle } from './bundle.js';
export { helmPath, renderChart, type RenderOptions } from './chart.js';
export { removeDaemonSet, type Removal, type RemovalOptions } from './removal.js';
export { chartPath, repositoryPath } from './repository.js';

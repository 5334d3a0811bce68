// The package's public surface: what the repository's scripts and tests make of the chart and the image.
export { bundleCommand, type Bundle } from './bundle.js';
export { helmPath, renderChart, type RenderOptions } from './chart.js';
export { removeDaemonSet, type Removal, type RemovalOptions } from './removal.js';
export { chartPath, repositoryPath } from './repository.js';

// What may stand in the place of a model's codec: decoders that make audio of the same codes.

/** Those of a server's decoders that a model's codes may go to. One for another rate is for another codec; where a rate
 * is not known yet, the server says whether they fit. */
export const decodersFor = (model, decoders) => decoders.filter((one) => !one.sample_rate || !model?.sample_rate || one.sample_rate === model.sample_rate);

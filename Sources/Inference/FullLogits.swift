internal import ByteIO
internal import Llama

/// All logits of one short sequence, for comparison with other implementations. Scoring never holds them.
public enum FullLogits {
  /// - Returns: `[ids.count, vocabulary]`, row-major.
  /// - Throws: `ParseFailure` for ids outside the vocabulary, whatever reading weights throws.
  public static func compute(
    _ ids: [Int32], weights: any ModelWeights, settings: ForwardSettings
  ) throws -> [Float] {
    let configuration = weights.configuration
    if let stray = ids.first(where: { $0 < 0 || Int($0) >= configuration.vocabularySize }) {
      throw ParseFailure("token id \(stray) is outside the model's vocabulary of \(configuration.vocabularySize)")
    }
    var stream = try LayerStream(weights, windows: [ids], settings: settings)
    for layer in 0..<configuration.layerCount { try stream.advance(through: layer) }
    try stream.finish()
    let input = ProjectionInput(stream.hidden, tokens: ids.count, settings: settings)
    let vocabulary = configuration.vocabularySize
    var logits = [Float](repeating: 0, count: ids.count * vocabulary)
    for first in stride(from: 0, to: vocabulary, by: HeadSweep.vocabularyBlock) {
      let block = first..<min(first + HeadSweep.vocabularyBlock, vocabulary)
      let part = input.times(try weights.matrix(.outputHead, rows: block))
      for token in ids.indices {
        logits.replaceSubrange(
          token * vocabulary + block.lowerBound..<token * vocabulary + block.upperBound,
          with: part[token * block.count..<(token + 1) * block.count])
      }
    }
    return logits
  }
}

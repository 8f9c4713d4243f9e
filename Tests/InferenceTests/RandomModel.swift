import ByteIO
import Foundation
import Inference
import Kernels
import Llama
import Support
import Tensors

/// A seeded random model in memory, weights in BF16 or FP8 with row-wise scales; and its logits by the definition, in
/// binary64, written for reading: the oracle of the forward pass.
struct RandomModel: ModelWeights {
  let configuration: LlamaConfiguration
  private let matrices: [TensorRole: WeightMatrix]
  private let vectors: [TensorRole: [Float]]

  /// - Parameter activations: what serving does with what the matrices of these roles multiply.
  init(
    _ configuration: LlamaConfiguration, format: FloatFormat = .bf16,
    activations: [TensorRole: ActivationPrecision] = [:], seed: UInt64
  ) {
    self.configuration = configuration
    var random = SeededRandom(seed: seed)
    var matrices: [TensorRole: WeightMatrix] = [:]
    var vectors: [TensorRole: [Float]] = [:]
    for role in configuration.roles {
      let shape = configuration.shape(of: role).dimensions
      guard shape.count == 2 else {
        vectors[role] = (0..<shape[0]).map { _ in 1 + random.normal(0.2) }
        continue
      }
      let isQuantized = format == .e4m3 && role.isLinear && role != .outputHead
      let values = (0..<shape[0] * shape[1]).map { _ in
        random.normal(isQuantized ? 60 : 1.2 / Float(shape[1]).squareRoot())
      }
      let stored: FloatFormat = isQuantized ? .e4m3 : .bf16
      var bytes = [UInt8](repeating: 0, count: values.count * stored.byteCount)
      var span = bytes.mutableSpan
      _ = NumberFormat.narrow(values.span, to: stored, into: &span)
      // Values as large as those of the BF16 model: a chain of larger ones magnifies every rounding.
      let scales = (0..<shape[0]).map { _ in (0.7 + abs(random.normal(0.3))) * 1.2 / 60 / Float(shape[1]).squareRoot() }
      matrices[role] = WeightMatrix(
        rows: shape[0], columns: shape[1], format: stored, bytes: bytes, scales: isQuantized ? .rowWise(scales) : .none,
        activations: activations[role] ?? (isQuantized ? .fp8PerToken(upperBound: nil) : .float32))
    }
    self.matrices = matrices
    self.vectors = vectors
  }

  private func stored(_ role: TensorRole) throws -> WeightMatrix {
    guard let matrix = matrices[role] ?? (role == .outputHead ? matrices[.tokenEmbedding] : nil) else {
      throw CocoaError(.keyValueValidation)
    }
    return matrix
  }

  func matrix(_ role: TensorRole, rows range: Range<Int>?) throws -> WeightMatrix {
    let whole = try stored(role)
    guard let range else { return whole }
    let rowBytes = whole.columns * whole.format.byteCount
    return WeightMatrix(
      rows: range.count, columns: whole.columns, format: whole.format,
      bytes: Array(whole.bytes[range.lowerBound * rowBytes..<range.upperBound * rowBytes]))
  }

  func vector(_ role: TensorRole) throws -> [Float] {
    guard let vector = vectors[role] else { throw CocoaError(.keyValueValidation) }
    return vector
  }
}

// MARK: - The definition

extension RandomModel {
  /// Logits of every position, `[ids.count][vocabulary]`.
  /// - Parameter emulates: activations are rounded as the matrices say.
  func definition(_ ids: [Int32], emulates: Bool = false) throws -> [[Double]] {
    let c = configuration
    let embedding = try dense(.tokenEmbedding)
    var hidden = ids.map { embedding[Int($0)] }
    for layer in 0..<c.layerCount {
      func linear(_ x: [[Double]], _ role: LayerRole) throws -> [[Double]] {
        let role = TensorRole.layer(layer, role)
        return product(emulates ? try stored(role).activations.rounded(x) : x, try dense(role))
      }
      let x = try normed(hidden, .layer(layer, .attentionNorm))
      let q = turned(try linear(x, .query), heads: c.headCount)
      let k = turned(try linear(x, .key), heads: c.keyValueHeadCount)
      let mixed = attention(q, k, try linear(x, .value))
      hidden = sum(hidden, try linear(mixed, .attentionOutput))
      let y = try normed(hidden, .layer(layer, .feedForwardNorm))
      let gated = zip(try linear(y, .gate), try linear(y, .up)).map { gate, up in
        zip(gate, up).map { $0 / (1 + exp(-$0)) * $1 }
      }
      hidden = sum(hidden, try linear(gated, .down))
    }
    return product(try normed(hidden, .outputNorm), try dense(.outputHead))
  }

  private func dense(_ role: TensorRole) throws -> [[Double]] {
    let matrix = try stored(role)
    var values = [Float](repeating: 0, count: matrix.rows * matrix.columns)
    var span = values.mutableSpan
    NumberFormat.widen(matrix.bytes.span.rawBytes, from: matrix.format, into: &span, instructionSet: .scalar)
    var factors = [Float](repeating: 1, count: matrix.rows)
    if case .rowWise(let scales) = matrix.scales { factors = scales }
    return (0..<matrix.rows).map { row in
      values[row * matrix.columns..<(row + 1) * matrix.columns].map { Double($0) * Double(factors[row]) }
    }
  }

  private func product(_ x: [[Double]], _ w: [[Double]]) -> [[Double]] {
    x.map { row in w.map { weights in zip(row, weights).reduce(0) { $0 + $1.0 * $1.1 } } }
  }

  private func sum(_ a: [[Double]], _ b: [[Double]]) -> [[Double]] { zip(a, b).map { zip($0, $1).map(+) } }

  private func normed(_ x: [[Double]], _ role: TensorRole) throws -> [[Double]] {
    let weight = try vector(role).map(Double.init)
    return x.map { row in
      let mean = row.reduce(0) { $0 + $1 * $1 } / Double(row.count)
      return zip(row, weight).map { $0 / (mean + configuration.normEpsilon).squareRoot() * $1 }
    }
  }

  /// RoPE on interleaved pairs (Su et al. 2021, equation 34).
  private func turned(_ x: [[Double]], heads: Int) -> [[Double]] {
    let d = configuration.headDimension
    return x.enumerated().map { position, row in
      var row = row
      for head in 0..<heads {
        for pair in 0..<d / 2 {
          let angle = Double(position) * pow(configuration.rope.base, -2 * Double(pair) / Double(d))
          let at = head * d + 2 * pair
          let (a, b) = (row[at], row[at + 1])
          row[at] = a * cos(angle) - b * sin(angle)
          row[at + 1] = a * sin(angle) + b * cos(angle)
        }
      }
      return row
    }
  }

  private func attention(_ q: [[Double]], _ k: [[Double]], _ v: [[Double]]) -> [[Double]] {
    let c = configuration
    let d = c.headDimension
    return q.indices.map { token in
      (0..<c.headCount).flatMap { head -> [Double] in
        let group = head / (c.headCount / c.keyValueHeadCount) * d
        let lowest = max(0, token + 1 - (c.slidingWindow ?? token + 1))
        let scores = (lowest...token).map { key in
          (0..<d).reduce(0.0) { $0 + q[token][head * d + $1] * k[key][group + $1] } / Double(d).squareRoot()
        }
        let largest = scores.max() ?? 0
        let weights = scores.map { exp($0 - largest) }
        let total = weights.reduce(0, +)
        return (0..<d).map { i in
          zip(weights, lowest...token).reduce(0.0) { $0 + $1.0 / total * v[$1.1][group + i] }
        }
      }
    }
  }
}

public import Quantization

/// A tensor that calibration has made of a model's: integer codes with their scales, or a norm that took over the factors of
/// scaled channels.
public struct CalibratedTensor: Sendable {
  /// In canonical row order.
  public let tensor: LogicalTensor
  /// What rounding did to it; nil for a norm.
  public let statistics: QuantizationStatistics?

  public init(tensor: LogicalTensor, statistics: QuantizationStatistics?) {
    self.tensor = tensor
    self.statistics = statistics
  }
}

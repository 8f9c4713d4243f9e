internal import Llama
internal import Quantization

/// Which linears are fitted to text and how, and how the others are rounded.
struct FittedLinears {
  let selected: Set<TensorRole>
  /// Where linears are rounded each in its own way.
  let recipes: [TensorRole: LinearRecipe]
  /// How selected ones are rounded else.
  let common: IntegerQuantizer

  func quantizer(of role: TensorRole) -> IntegerQuantizer {
    guard case .integers(let quantizer)? = recipes[role] else { return common }
    return quantizer
  }

  /// How a linear is rounded by itself; nil for one that is fitted, or stays as it is.
  func recipeOfOther(_ role: TensorRole) -> LinearRecipe? { selected.contains(role) ? nil : recipes[role] }
}
